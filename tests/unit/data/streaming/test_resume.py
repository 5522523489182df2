"""A stream that is resumed equals one that was not interrupted."""

import multiprocessing
from itertools import islice

import lightning.pytorch as pl
import pytest
import torch
from torch import distributed

from lightning_langcore import ContinuedPretraining
from lightning_langcore.data.streaming.blocks import StreamedLoader
from tests.support.models import tiny_llama
from tests.support.streams import Short, blocks, copied, equal, mixture, part
from tests.support.training import Plain


@pytest.mark.slow
@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("kind", ["plain", "streamed", "downloaded"])
def test_a_stream_goes_on_exactly_where_it_was(tmp_path, kind, num_workers):
    """Over several epochs of both parts, with documents left out, and through what a checkpoint can hold."""
    whole = list(mixture(tmp_path, kind, num_workers))
    assert len(whole) == 30
    for done in (1, 2, 3, 12, 29):
        first = mixture(tmp_path, kind, num_workers)
        seen = list(islice(first, done))
        second = mixture(tmp_path, kind, num_workers)
        second.load_state_dict(copied(first.state_dict()))
        rest = list(second)
        assert len(seen) + len(rest) == 30
        assert all(equal(*pair) for pair in zip(seen + rest, whole, strict=True))
    last = mixture(tmp_path, kind, num_workers)
    assert len(list(last)) == 30
    assert last.used() == second.used()
    assert last.used()[0]["filtered"] > 0
    assert last.used()[1]["epochs"] > 0


def test_a_second_pass_goes_on_and_a_checkpoint_between_the_passes_too(tmp_path):
    long = list(mixture(tmp_path, "plain", 0, num_blocks=120))
    short = mixture(tmp_path, "plain", 0)
    assert all(equal(*pair) for pair in zip(list(short) + list(short), long, strict=True))
    first, second = mixture(tmp_path, "plain", 0), mixture(tmp_path, "plain", 0)
    list(first)
    second.load_state_dict(first.state_dict())
    assert all(equal(*pair) for pair in zip(second, long[30:], strict=True))


class Seen(ContinuedPretraining):
    def __init__(self):
        super().__init__(tiny_llama(), lambda parameters: torch.optim.AdamW(parameters, lr=1e-3))
        self.seen = []

    def on_train_batch_start(self, batch, batch_idx):
        self.seen.append(batch["input_ids"].clone())


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_run_resumed_from_a_checkpoint_equals_one_that_was_not_interrupted(tmp_path, num_workers):
    def fit(module, callbacks=(), ckpt_path=None, **more):
        quiet = {"max_epochs": -1, "enable_checkpointing": bool(callbacks), "callbacks": list(callbacks)}
        trainer = pl.Trainer(**Plain(tmp_path, **quiet, **more))
        loader = mixture(tmp_path, "streamed", num_workers, num_blocks=24)
        trainer.fit(module, loader, ckpt_path=ckpt_path, weights_only=True)

    whole, first, second = Seen(), Seen(), Seen()
    fit(whole, max_steps=12)
    keep = pl.callbacks.ModelCheckpoint(tmp_path, save_last=True, every_n_train_steps=5)
    fit(first, [keep], max_steps=5)
    fit(second, ckpt_path=tmp_path / "last.ckpt", max_steps=12)
    assert len(whole.seen) == 12
    assert len(second.seen) == 7
    assert all(map(torch.equal, first.seen + second.seen, whole.seen))
    for mine, theirs in zip(second.parameters(), whole.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def rank_of_two(rank, folder, states):
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", f"file://{folder / 'store'}", rank=rank, world_size=2)
    loader = mixture(folder, "plain", 0, rank=rank, world_size=2)
    list(islice(loader, 4))
    states.put((rank, loader.state_dict(), loader.used()))
    distributed.barrier()
    distributed.destroy_process_group()


def test_the_state_of_one_rank_holds_those_of_all(tmp_path):
    context = multiprocessing.get_context("fork")
    states = context.Queue()
    ranks = [context.Process(target=rank_of_two, args=(rank, tmp_path, states)) for rank in range(2)]
    for process in ranks:
        process.start()
    found = {rank: (state, used) for rank, state, used in (states.get(timeout=60) for _ in ranks)}
    for process in ranks:
        process.join(60)
    assert found[0] == found[1]
    state, used = found[0]
    assert sum(part["tokens"] for part in used) == 2 * 4 * 2 * 8
    for rank in range(2):
        whole = list(mixture(tmp_path, "plain", 0, rank=rank, world_size=2))
        resumed = mixture(tmp_path, "plain", 0, rank=rank, world_size=2)
        resumed.load_state_dict(copied(state))
        assert all(equal(*pair) for pair in zip(resumed, whole[4:], strict=True))


def test_a_checkpoint_of_other_settings_or_another_text_is_refused(tmp_path):
    loader = mixture(tmp_path, "plain", 0)
    next(iter(loader))
    state = loader.state_dict()
    for changes, message in [
        (
            {"num_workers": 2},
            r"written with data\.num_workers=0, now it is 2: a stream can be resumed only with the same",
        ),
        ({"world_size": 2}, r"written with world size=1, now it is 2"),
        ({"batch_size": 3}, r"written with data\.batch_size=2, now it is 3"),
        ({"shuffle_buffer": 8}, r"written with data\.shuffle_buffer=7, now it is 8"),
    ]:
        other = mixture(tmp_path, "plain", **({"num_workers": 0} | changes))
        with pytest.raises(ValueError, match=message):
            other.load_state_dict(state)
    with pytest.raises(ValueError, match=r"a run on packed text: resume with data\.on_the_fly=false"):
        loader.load_state_dict({"num_batches": 3})
    changed = StreamedLoader(blocks(part(Short(mark="x")), num_blocks=60))
    kept = StreamedLoader(blocks(part(Short()), num_blocks=60))
    next(iter(kept))
    changed.load_state_dict(kept.state_dict())
    with pytest.raises(ValueError, match=r"the text of 'zh' has changed since the checkpoint was written"):
        next(iter(changed))
