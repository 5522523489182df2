"""One thread, no network, no window; a small model and a small tokenizer."""

import gc
import os
import random

os.environ.update(HF_HUB_OFFLINE="1", WANDB_MODE="offline", MPLBACKEND="Agg")
os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")  # child processes have these too

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

from lightning_langcore.models import from_scratch
from tests.support import forked
from tests.support.models import tiny_llama
from tests.support.paths import ROOT
from tests.support.pictures import write_pixel

torch.set_num_threads(1)
if "PYTEST_XDIST_WORKER" not in os.environ:
    forked.share_server()

# begun before all others, so that no worker is left alone with one at the end
LONGEST = (
    "test_notebooks", "test_kill_ranks", "test_locate", "test_demo", "test_two_ranks", "test_sweeps", "test_strategies",
    "test_data_commands", "test_other_commands", "test_launchers", "test_perturb_dimension", "test_checkpoints_on_disk",
    "test_switches",
)  # fmt: skip
SENTENCES = [
    "The cat sleeps on the warm stone near the door.",
    "El gato duerme sobre la piedra caliente junto a la puerta.",
    "Кошка спит на тёплом камне у двери.",
    "القطة تنام على الحجر الدافئ قرب الباب",
    "猫在门边温暖的石头上睡觉。",
]


def pytest_collection_finish():
    """Every command ends with a collection of garbage, which need not look at what the imports have made."""
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items):
    """What lies in ``end_to_end`` is slow, and comes first."""
    slow = ROOT / "tests" / "end_to_end"
    for item in items:
        if item.path.is_relative_to(slow):
            item.add_marker(pytest.mark.slow)
    order = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: (not item.path.is_relative_to(slow), order.get(item.path.stem, len(order))))


@pytest.fixture(autouse=True)
def seeded():
    """Random numbers that do not depend on which tests this worker has run before."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    torch.manual_seed(0)


@pytest.fixture
def llama() -> LlamaForCausalLM:
    """A fresh one for each test, always with the same weights."""
    return tiny_llama()


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerBase:
    """Byte-level BPE with 300 entries, as the tiny LLaMA has."""
    return from_scratch.train_tokenizer(SENTENCES * 20, 300)


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were saved, to look into: laid out, and on the disk a pixel each."""
    figures = []

    def keep(figure, path, **_):
        figures.append(figure)
        figure.draw_without_rendering()
        write_pixel(figure, path)

    monkeypatch.setattr(Figure, "savefig", keep)
    return figures


@pytest.fixture
def drawn_on_disk(monkeypatch):
    """The figures that were saved, to look into, and their pictures as they are."""
    figures = []
    save = Figure.savefig

    def keep(figure, *args, **more):
        figures.append(figure)
        save(figure, *args, **more)

    monkeypatch.setattr(Figure, "savefig", keep)
    return figures
