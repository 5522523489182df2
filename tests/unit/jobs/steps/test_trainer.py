"""An average that no step of the run would update is refused before the first step."""

from types import SimpleNamespace

import lightning.pytorch as pl
import pytest
from lightning.pytorch.callbacks import EMAWeightAveraging, WeightAveraging

from lightning_langcore.jobs.steps.trainer import fit
from tests.support.training import Plain

ROWS = SimpleNamespace(num_rows=12, batch_size=2)  # six steps


class AtTheEnd(WeightAveraging):
    """Averages after the epoch, which is the whole run."""

    def should_update(self, step_idx=None, epoch_idx=None):
        return epoch_idx == 0


def started(callback):
    """A fit that gets as far as the first thing that is missing here: a module."""
    trainer = pl.Trainer(**Plain(None, max_epochs=-1, enable_checkpointing=False), callbacks=[callback])
    fit(trainer, None, ROWS)


@pytest.mark.parametrize("idle", [{"update_starting_at_step": 6}, {"update_every_n_steps": 0}])
def test_an_average_that_begins_after_the_last_step_is_refused(idle):
    with pytest.raises(ValueError, match=r"EMAWeightAveraging averages at none of the 6 steps of this run: begin"):
        started(EMAWeightAveraging(**idle))


@pytest.mark.parametrize("callback", [EMAWeightAveraging(update_starting_at_step=5), AtTheEnd()])
def test_an_average_of_the_last_step_is_one(callback):
    with pytest.raises(TypeError, match="LightningModule"):
        started(callback)
