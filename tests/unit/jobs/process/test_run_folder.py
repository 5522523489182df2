"""What may differ between two starts of a run in the same folder."""

import pytest

from lightning_langcore.jobs.process.run_folder import compared
from lightning_langcore.utils import config_yaml

RUN = """
job: {name: fit, ckpt_path: auto}
trainer: {max_steps: 5, max_time: "00:00:01:00"}
callbacks:
  own: {_target_: lightning.pytorch.callbacks.Timer, duration: "00:00:01:00"}
  checkpoint: {save_top_k: 2}
  stopper: {_target_: lightning.pytorch.callbacks.EarlyStopping, patience: 3}
"""


@pytest.mark.parametrize(
    ("before", "after", "same"),
    [
        ('max_time: "00:00:01:00"', 'max_time: "00:09:00:00"', True),
        (', max_time: "00:00:01:00"', "", True),
        ('duration: "00:00:01:00"', 'duration: "00:09:00:00"', True),
        ("save_top_k: 2", "save_top_k: 3", True),
        ("max_steps: 5", "max_steps: 6", False),
        ("patience: 3", "patience: 4", False),
    ],
)
def test_a_longer_time_is_no_other_configuration(before, after, same):
    first, second = (compared(config_yaml.read(text)) for text in (RUN, RUN.replace(before, after)))
    assert RUN.replace(before, after) != RUN
    assert (first == second) is same
