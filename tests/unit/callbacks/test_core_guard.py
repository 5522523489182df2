"""The guard against a plain loop that does the same two things, and against everything that moves frozen weights."""

import copy
from functools import partial

import lightning.pytorch as pl
import pytest
import torch

from lightning_langcore import ContinuedPretraining, CoreGuard, Region
from lightning_langcore.models.parameters import saved_parameters
from lightning_langcore.regions.weight_set import WeightSet
from tests.support.models import random_half, tiny_llama
from tests.support.plain_loop import plain_loop
from tests.support.training import ClipBlocks, Plain, blocks, fit, loader, state_of

OPTIMIZERS = {
    "adamw": partial(torch.optim.AdamW, lr=1e-2, weight_decay=0.5),
    "adam_l2": partial(torch.optim.Adam, lr=1e-2, weight_decay=0.5),
    "sgd": partial(torch.optim.SGD, lr=1e-1, momentum=0.9, weight_decay=0.1),
    "nesterov": partial(torch.optim.SGD, lr=1e-1, momentum=0.9, nesterov=True),
}


def frozen_values(module: torch.nn.Module, region: Region) -> dict[str, torch.Tensor]:
    parameters = region.match(module)
    return {name: parameters[name].detach().view(-1)[idx].clone() for name, idx in region}


def assert_bits_kept(module: torch.nn.Module, region: Region, before: dict[str, torch.Tensor]) -> None:
    for name, values in frozen_values(module, region).items():
        assert torch.equal(values.view(torch.uint8), before[name].view(torch.uint8)), name


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize(("accumulate", "clip"), [(1, None), (2, 0.5)])
def test_free_weights_and_states_equal_those_of_a_plain_loop_and_frozen_bits_stay(name, accumulate, clip):
    model = tiny_llama()
    reference = copy.deepcopy(model)
    region = random_half(model)
    batches = blocks(8)
    module = ContinuedPretraining(model, OPTIMIZERS[name])
    before = frozen_values(module, region)
    guard = CoreGuard(region)
    trainer = fit(module, batches, [guard], accumulate_grad_batches=accumulate, gradient_clip_val=clip)
    optimizer = plain_loop(reference, OPTIMIZERS[name], batches, region=region, accumulate=accumulate, clip=clip)
    assert_bits_kept(module, region, before)
    for (key, mine), (_, theirs) in zip(model.named_parameters(), reference.named_parameters(), strict=True):
        assert torch.equal(mine, theirs), key
    for mine, theirs in zip(state_of(trainer.optimizers[0]), state_of(optimizer), strict=True):
        assert torch.equal(mine, theirs)
    assert guard.drift() == 0.0


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_zeroed_gradients_alone_do_not_freeze(name):
    """The control: without the write-back the same region moves, so that the test above can fail."""
    module = ContinuedPretraining(tiny_llama(), OPTIMIZERS[name])
    region = random_half(module)
    before = frozen_values(module, region)
    guard = CoreGuard(region)
    guard.restore = lambda *_: None
    with pytest.warns(UserWarning, match="guarded weights have moved"):
        fit(module, blocks(4), [guard])
    after = frozen_values(module, region)
    assert any(not torch.equal(after[key], before[key]) for key in before)
    assert guard.drift() > 0.0


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_a_guard_that_joins_at_step_three_stops_stale_momentum(tmp_path, name):
    model = tiny_llama()
    reference = copy.deepcopy(model)
    region = random_half(model)
    batches = blocks(8)
    module = ContinuedPretraining(model, OPTIMIZERS[name])
    checkpoint = pl.callbacks.ModelCheckpoint(tmp_path, save_last=True, every_n_train_steps=3)
    trainer = pl.Trainer(**Plain(tmp_path, max_steps=3), callbacks=[checkpoint])
    trainer.fit(module, loader(batches))
    before = frozen_values(module, region)
    later = ContinuedPretraining(copy.deepcopy(reference), OPTIMIZERS[name])
    trainer = pl.Trainer(**Plain(tmp_path, max_steps=8), callbacks=[CoreGuard(region)])
    trainer.fit(later, loader(batches), ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    plain_loop(reference, OPTIMIZERS[name], batches, region=region, guard_from=3)
    assert trainer.global_step == 8
    assert_bits_kept(later, region, before)
    for (key, mine), (_, theirs) in zip(later.model.named_parameters(), reference.named_parameters(), strict=True):
        assert torch.equal(mine, theirs), key


def test_resumed_equals_uninterrupted(tmp_path):
    model, region, batches = tiny_llama(), random_half(tiny_llama()), blocks(8)
    whole = ContinuedPretraining(copy.deepcopy(model), OPTIMIZERS["adamw"])
    fit(whole, batches, [CoreGuard(region)], max_steps=8)
    first = ContinuedPretraining(copy.deepcopy(model), OPTIMIZERS["adamw"])
    checkpoint = pl.callbacks.ModelCheckpoint(tmp_path, save_last=True, every_n_train_steps=4)
    pl.Trainer(**Plain(tmp_path, max_steps=4), callbacks=[CoreGuard(region), checkpoint]).fit(first, loader(batches))
    second = ContinuedPretraining(tiny_llama(seed=1), OPTIMIZERS["adamw"])
    trainer = pl.Trainer(**Plain(tmp_path, max_steps=8), callbacks=[CoreGuard(region)])
    trainer.fit(second, loader(batches), ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    for (key, mine), (_, theirs) in zip(second.named_parameters(), whole.named_parameters(), strict=True):
        assert torch.equal(mine, theirs), key


def test_a_checkpoint_of_another_region_is_refused(tmp_path):
    model, batches = tiny_llama(), blocks(4)
    checkpoint = pl.callbacks.ModelCheckpoint(tmp_path, save_last=True, every_n_train_steps=2)
    module = ContinuedPretraining(model, OPTIMIZERS["sgd"])
    guard = CoreGuard(random_half(model, seed=0))
    pl.Trainer(**Plain(tmp_path, max_steps=2), callbacks=[guard, checkpoint]).fit(module, loader(batches))
    trainer = pl.Trainer(**Plain(tmp_path, max_steps=4), callbacks=[CoreGuard(random_half(model, seed=1))])
    with pytest.raises(ValueError, match="another region"):
        trainer.fit(module, loader(batches), ckpt_path=tmp_path / "last.ckpt", weights_only=True)


def test_a_checkpoint_whose_guarded_weights_were_changed_is_refused(tmp_path):
    model, batches = tiny_llama(), blocks(4)
    region = random_half(model)
    checkpoint = pl.callbacks.ModelCheckpoint(tmp_path, save_last=True, every_n_train_steps=2)
    module = ContinuedPretraining(model, OPTIMIZERS["sgd"])
    pl.Trainer(**Plain(tmp_path, max_steps=2), callbacks=[CoreGuard(region), checkpoint]).fit(module, loader(batches))
    state = torch.load(tmp_path / "last.ckpt", weights_only=True)
    name, idx = next(iter(region))
    state["state_dict"][f"model.{name}"].view(-1)[idx[0]] += 1e-3
    torch.save(state, tmp_path / "last.ckpt")
    trainer = pl.Trainer(**Plain(tmp_path, max_steps=4), callbacks=[CoreGuard(region)])
    with pytest.raises(ValueError, match="not the bits"):
        trainer.fit(module, loader(batches), ckpt_path=tmp_path / "last.ckpt", weights_only=True)


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true"])
def test_bits_stay_in_bfloat16(precision):
    module = ContinuedPretraining(tiny_llama(), partial(torch.optim.AdamW, lr=1e-2, weight_decay=0.1))
    region = random_half(module)
    if precision == "bf16-true":
        module.to(torch.bfloat16)
    before = frozen_values(module, region)
    free = copy.deepcopy(module.model.state_dict())
    fit(module, blocks(6), [CoreGuard(region)], precision=precision, gradient_clip_val=1.0)
    assert_bits_kept(module, region, before)
    assert any(not torch.equal(free[key], value) for key, value in module.model.state_dict().items())


def test_nan_infinity_and_negative_zero_stay():
    module = ContinuedPretraining(tiny_llama(), OPTIMIZERS["adamw"])
    name = "model.layers.0.mlp.up_proj.weight"
    region = Region.from_indices(module, {name: [3, 5, 70]})
    weights = region.match(module)[name].data.view(-1)
    weights[torch.tensor([3, 5, 70])] = torch.tensor([float("nan"), float("inf"), -0.0])
    guard = CoreGuard(region)
    trainer = pl.Trainer(**Plain(None, max_steps=1))
    trainer.strategy.connect(module)
    guard.on_train_start(trainer, module)
    kept = weights[torch.tensor([3, 5, 70])].clone()
    weights += 1.0
    assert guard.drift() > 0.0
    guard.restore()
    assert torch.equal(weights[torch.tensor([3, 5, 70])].view(torch.int32), kept.view(torch.int32))
    assert guard.drift() == 0.0


def test_masked_gradients_do_not_count_for_the_clip_norm():
    region_norms = []
    for callbacks in ([], [CoreGuard(random_half(tiny_llama()))]):
        module = ClipBlocks(tiny_llama(), OPTIMIZERS["sgd"])
        fit(module, blocks(1), callbacks, gradient_clip_val=1e9)
        region_norms.append(module.norm)
    model = tiny_llama()
    batch = blocks(1)[0]
    logits = model(input_ids=batch["input_ids"]).logits.flatten(0, 1)
    torch.nn.functional.cross_entropy(logits, batch["shift_labels"].flatten()).backward()
    frozen = sum(float(saved_parameters(model)[n].grad.view(-1)[i].square().sum()) for n, i in random_half(model))
    assert region_norms[1] < region_norms[0]
    assert region_norms[0] ** 2 - region_norms[1] ** 2 == pytest.approx(frozen, rel=1e-4)


class TwoOptimizers(pl.LightningModule):
    """Manual optimization: each optimizer has half of the model."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.model = tiny_llama()

    def training_step(self, batch, batch_idx):
        logits = self.model(input_ids=batch["input_ids"], use_cache=False).logits.flatten(0, 1)
        loss = torch.nn.functional.cross_entropy(logits, batch["shift_labels"].flatten())
        for optimizer in self.optimizers():
            optimizer.zero_grad()
        self.manual_backward(loss)
        for optimizer in self.optimizers():
            optimizer.step()

    def configure_optimizers(self):
        parameters = list(self.model.parameters())
        return [
            torch.optim.AdamW(parameters[::2], lr=1e-2, weight_decay=0.5),
            torch.optim.SGD(parameters[1::2], lr=1e-1, momentum=0.9, weight_decay=0.1),
        ]


def test_several_optimizers_in_a_module_that_this_project_did_not_write():
    module = TwoOptimizers()
    region = random_half(module)
    before = frozen_values(module, region)
    free = copy.deepcopy(module.state_dict())
    fit(module, blocks(4), [CoreGuard(region)])
    assert_bits_kept(module, region, before)
    assert not torch.equal(free["model.lm_head.weight"], module.state_dict()["model.lm_head.weight"])


def test_a_region_of_another_model_is_refused_before_the_first_step():
    region = random_half(tiny_llama(hidden_size=48, intermediate_size=96))
    module = ContinuedPretraining(tiny_llama(), OPTIMIZERS["sgd"])
    before = copy.deepcopy(module.state_dict())
    with pytest.raises(ValueError, match=r"layers\.0\.self_attn\.q_proj\.weight has shape \(48, 48\)"):
        fit(module, blocks(1), [CoreGuard(region)])
    assert all(torch.equal(before[key], value) for key, value in module.state_dict().items())


def test_a_missing_region_file_says_how_to_make_one(tmp_path):
    with pytest.raises(ValueError, match=r"no region file at .*locate_core"):
        CoreGuard(tmp_path / "none.safetensors")


@pytest.mark.parametrize("strategy", [pl.strategies.FSDPStrategy, pl.strategies.DeepSpeedStrategy])
def test_strategies_with_flat_or_private_weights_are_refused_by_name(strategy):
    guard = CoreGuard(random_half(tiny_llama()))
    trainer = pl.Trainer(**Plain(None, max_steps=1))
    trainer.strategy.__class__ = strategy
    with pytest.raises(ValueError, match=rf"{strategy.__name__}: use one device, strategy=ddp, or FSDP2"):
        guard.setup(trainer, ContinuedPretraining(tiny_llama(), OPTIMIZERS["sgd"]), "fit")


def test_quantized_weights_are_refused_by_name():
    module = ContinuedPretraining(tiny_llama(), OPTIMIZERS["sgd"])
    name = "model.layers.0.mlp.up_proj.weight"
    region = Region.from_indices(module, {name: [0]})
    weight = module.model.model.layers[0].mlp.up_proj
    weight.weight = torch.nn.Parameter(torch.zeros_like(weight.weight, dtype=torch.int8), requires_grad=False)
    with pytest.raises(ValueError, match=r"up_proj\.weight is Parameter of torch\.int8"):
        fit(module, blocks(1), [CoreGuard(region)])


def test_memory_is_sparse():
    """Bytes held: an index and a value per guarded weight, whatever the size of the matrix."""
    module = ContinuedPretraining(tiny_llama(), OPTIMIZERS["sgd"])
    region = Region.from_indices(module, {"model.layers.0.mlp.up_proj.weight": [1, 2, 3]})
    guard = CoreGuard(region)
    guard.on_train_start(pl.Trainer(**Plain(None, max_steps=1)), module)
    held = sum(part.data.nbytes + values.nbytes for _, part, values in guard._guarded)
    assert held == 3 * (4 + 4)


def in_form(region, form):
    """Every second weight, row or column of each candidate, in one form."""
    parts = {}
    for name, (rows, cols) in region.shapes.items():
        if form in ("rows", "cols"):
            parts[name] = WeightSet(form, torch.arange(0, rows if form == "rows" else cols, 2), (rows, cols))
        else:  # half of them: a bitmap; a tenth: indices
            parts[name] = WeightSet.of(torch.arange(0, rows * cols, 2 if form == "bits" else 10), (rows, cols))
    return Region(region.shapes, parts)


@pytest.mark.parametrize("form", ["idx", "bits", "rows", "cols"])
def test_every_form_of_a_region_is_kept_and_costs_its_numbers_and_values(form):
    model = tiny_llama()
    region = in_form(random_half(model), form)
    reference = copy.deepcopy(model)
    module = ContinuedPretraining(model, OPTIMIZERS["adamw"])
    before, batches = frozen_values(module, region), blocks(4)
    guard = CoreGuard(region)
    fit(module, batches, [guard], gradient_clip_val=0.5)
    plain_loop(reference, OPTIMIZERS["adamw"], batches, region=region, clip=0.5)
    assert_bits_kept(module, region, before)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), reference.parameters(), strict=True))
    assert {part.encoding for _, part, _ in guard._guarded} == {form}
    for _, part, values in guard._guarded:
        rows, cols = part.shape
        numbers = {"idx": 4 * len(part), "bits": rows * cols // 8, "rows": 4 * rows // 2, "cols": 4 * cols // 2}[form]
        assert (part.data.nbytes, values.nbytes) == (numbers, 4 * len(part))


def test_hooks_are_gone_after_training():
    module = ContinuedPretraining(tiny_llama(), OPTIMIZERS["sgd"])
    trainer = fit(module, blocks(2), [CoreGuard(random_half(module))])
    assert all(not o._optimizer_step_post_hooks for o in trainer.optimizers)


def test_an_average_of_the_weights_keeps_the_guarded_bits_and_no_other_weight():
    """The average of equal values differs by rounding; it is copied in at the end of training."""
    torch.manual_seed(0)
    module = ContinuedPretraining(tiny_llama(), OPTIMIZERS["adamw"])
    region = random_half(module)
    before = frozen_values(module, region)
    averaging = pl.callbacks.EMAWeightAveraging(decay=0.9)
    guard = CoreGuard(region)
    fit(module, blocks(12), [averaging, guard])
    assert_bits_kept(module, region, before)
    assert guard.drift() == 0.0
    guarded = {id(parameter): dict(region)[name] for name, parameter in region.match(module).items()}
    for parameter, average in zip(module.parameters(), averaging._average_model.module.parameters(), strict=True):
        free = torch.ones(average.numel(), dtype=torch.bool)
        free[guarded.get(id(parameter), torch.tensor([], dtype=torch.int64))] = False
        assert torch.equal(parameter.flatten()[free], average.flatten()[free])


@pytest.mark.parametrize("averaging", [pl.callbacks.EMAWeightAveraging(), pl.callbacks.StochasticWeightAveraging(0.1)])
def test_an_average_after_the_guard_is_refused_before_the_first_step(averaging):
    module = ContinuedPretraining(tiny_llama(), OPTIMIZERS["adamw"])
    name = type(averaging).__name__
    with pytest.raises(ValueError, match=f"{name} comes after CoreGuard .* after the last step: put {name} before"):
        fit(module, blocks(2), [CoreGuard(random_half(module)), averaging])
