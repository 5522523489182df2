"""A datamodule on numbered documents."""

from pathlib import Path

from lightning_langcore.data.datamodule import TextDataModule
from lightning_langcore.data.sources.base import Splitter
from tests.support.texts import ListSource


def datamodule(folder: Path, tokenizer, **changes):
    options = {"num_tokens": 1200, "block_size": 20, "batch_size": 4, "pool": "run", **changes}
    splitter = Splitter(0.1, 0.1, {"base": 1, "run": 1})
    made = TextDataModule(ListSource(), splitter, tokenizer, folder, **options)
    made.prepare_data()
    made.setup()
    return made
