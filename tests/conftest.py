"""One thread, no network, no window; a small model and a small tokenizer."""

import os

os.environ.update(HF_HUB_OFFLINE="1", WANDB_MODE="offline", MPLBACKEND="Agg")

import pytest
import torch
from helpers import tiny_llama
from matplotlib.figure import Figure
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

from lightning_langcore.models import from_scratch

torch.set_num_threads(1)

SENTENCES = [
    "The cat sleeps on the warm stone near the door.",
    "El gato duerme sobre la piedra caliente junto a la puerta.",
    "Кошка спит на тёплом камне у двери.",
    "القطة تنام على الحجر الدافئ قرب الباب",
    "猫在门边温暖的石头上睡觉。",
]


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
    """The figures that were saved, to look into."""
    figures = []
    save = Figure.savefig

    def keep(figure, *args, **more):
        figures.append(figure)
        save(figure, *args, **more)

    monkeypatch.setattr(Figure, "savefig", keep)
    return figures
