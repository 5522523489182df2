"""The region is perturbed once, between the evaluation of the intact model and the guard."""

import lightning.pytorch as pl
import pytest
import torch

from lightning_langcore import (
    ContinuedPretraining,
    CoreGuard,
    MultilingualPerplexity,
    NoiseSensitivity,
    PerturbRegion,
    perturb_,
)
from lightning_langcore.callbacks import Phase, in_order
from tests.support.models import random_half, tiny_llama
from tests.support.training import Plain, blocks, fit, loader

SGD = torch.optim.SGD


def module():
    return ContinuedPretraining(tiny_llama(), lambda groups: SGD(groups, lr=0.1))


def test_the_guard_keeps_the_perturbed_values_and_both_are_evaluated():
    expected = tiny_llama()
    region = random_half(expected)
    perturb_(expected, region, "reinit", 2.0, seed=3)
    trained = module()
    perplexity = MultilingualPerplexity({"en": blocks(2)}, milestones=[0])
    fit(trained, blocks(4), [perplexity, PerturbRegion(region, "reinit", 2.0, seed=3), CoreGuard(region)])
    wanted, found = region.match(expected), region.match(trained)
    for name, part in region.parts.items():
        assert torch.equal(part.gather(found[name]), part.gather(wanted[name]))
    stages = [row["stage"] for row in perplexity.rows]
    assert stages == ["base", "perturbed", "final"]
    assert len({row["nats_per_token"] for row in perplexity.rows}) == 3


def test_a_resumed_run_is_not_perturbed_again(tmp_path):
    region = random_half(tiny_llama())
    perturbation = {"method": "scale", "strength": 0.5}
    whole = module()
    fit(whole, blocks(4), [PerturbRegion(region, **perturbation)])
    keep = pl.callbacks.ModelCheckpoint(tmp_path, every_n_train_steps=2, save_top_k=-1, filename="{step}")
    first = pl.Trainer(**Plain(tmp_path, max_steps=2), callbacks=[PerturbRegion(region, **perturbation), keep])
    first.fit(module(), loader(blocks(4)))
    resumed = module()
    again = pl.Trainer(
        **Plain(tmp_path, max_epochs=1, enable_checkpointing=False), callbacks=[PerturbRegion(region, **perturbation)]
    )
    again.fit(resumed, loader(blocks(4)), ckpt_path=tmp_path / "step=2.ckpt", weights_only=True)
    for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_guard_that_stands_first_is_refused_before_the_first_step():
    region = random_half(tiny_llama())
    with pytest.raises(ValueError, match=r"PerturbRegion stands behind CoreGuard .* would be undone .*in_order"):
        fit(module(), blocks(2), [CoreGuard(region), PerturbRegion(region)])


def test_an_unknown_method_is_refused_when_it_is_made():
    with pytest.raises(ValueError, match="PerturbRegion: method='melt' is none of reinit, zero, scale, set"):
        PerturbRegion(random_half(tiny_llama()), "melt")


def test_callbacks_are_sorted_by_what_each_declares_and_else_stay_as_they_are():
    region = random_half(tiny_llama())

    class Last(pl.Callback):
        phase = Phase.LAST

    class User(pl.Callback):
        pass

    last, user, guard, other = Last(), User(), CoreGuard(region), User()
    perturb, monitor, perplexity = PerturbRegion(region), NoiseSensitivity(), MultilingualPerplexity({})
    given = [last, user, guard, monitor, other, perturb, perplexity]
    assert in_order(given) == [perplexity, perturb, monitor, user, guard, other, last]
