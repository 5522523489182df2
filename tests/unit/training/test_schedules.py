"""Learning-rate schedules: every name that is listed trains, and what a schedule does not take is refused."""

import math

import lightning.pytorch as pl
import pytest

from lightning_langcore import ContinuedPretraining, LangcoreError
from lightning_langcore.training.schedules import SCHEDULES
from tests.support.models import tiny_llama
from tests.support.monitored import SGD
from tests.support.training import Plain, blocks, loader

NEEDED = {
    "warmup_stable_decay": {"num_decay_steps": 3},
    "cosine_with_min_lr": {"min_lr_rate": 0.1},
    "cosine_warmup_with_min_lr": {"min_lr_rate": 0.1},
}


class Rates(pl.Callback):
    def __init__(self):
        self.rates = []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.rates.append(optimizer.param_groups[0]["lr"])


def rates(tmp_path, *schedule, steps=8):
    seen = Rates()
    trainer = pl.Trainer(**Plain(tmp_path, max_steps=steps, enable_checkpointing=False), callbacks=[seen])
    trainer.fit(ContinuedPretraining(tiny_llama(), SGD, *schedule), loader(blocks(16)))
    return [rate / SGD.keywords["lr"] for rate in seen.rates]


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_name_that_is_listed_trains(name, tmp_path):
    found = rates(tmp_path, name, 2, NEEDED.get(name, {}))
    assert len(found) == 8
    if name not in ("constant", "cosine_warmup_with_min_lr"):  # the last has a warm-up of its own
        assert found[:2] == pytest.approx([0.0, 0.5]), "two steps of linear warm-up"


def test_warmup_stable_decay_decays_in_its_last_steps(tmp_path):
    found = rates(tmp_path, "warmup_stable_decay", 2, {"num_decay_steps": 4, "decay_type": "linear"})
    assert found == pytest.approx([0.0, 0.5, 1.0, 1.0, 1.0, 0.75, 0.5, 0.25])
    cosine = rates(tmp_path, "warmup_stable_decay", 2, {"num_decay_steps": 4})
    assert cosine[5:] == pytest.approx([(1 + math.cos(math.pi * step / 4)) / 2 for step in (1, 2, 3)])


@pytest.mark.parametrize(
    ("schedule", "told"),
    [
        (("cosin",), "optimizer.schedule=cosin is none of linear, cosine"),
        (("reduce_lr_on_plateau",), "optimizer.schedule=reduce_lr_on_plateau is none of linear"),
        (
            ("warmup_stable_decay",),
            r"optimizer.schedule=warmup_stable_decay needs num_decay_steps: set \+optimizer.schedule_kwargs.num_decay",
        ),
        (("constant", 0, {"min_lr": 1}), "optimizer.schedule_kwargs.min_lr is no argument of the schedule constant"),
        (("cosine_with_min_lr",), "optimizer.schedule=cosine_with_min_lr can't be made .* has num_cycles, min_lr"),
        (("warmup_stable_decay", 0, {"num_decay_steps": 3, "decay_type": "square"}), "decay_type"),
    ],
)
def test_what_a_schedule_does_not_take_is_refused(schedule, told, tmp_path):
    with pytest.raises(LangcoreError, match=told):
        rates(tmp_path, *schedule)
