"""The monitor against plain loops that leave steps out, and against everything it must not disturb."""

import copy
import json
import math
from functools import partial

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from helpers import ClipBlocks, Plain, Rows, blocks, fit, loader, random_half, state_of, tiny_llama
from lightning.pytorch.plugins.precision import MixedPrecision

from lightning_langcore import ContinuedPretraining, CoreGuard
from lightning_langcore.callbacks.noise_sensitivity.callback import NoiseSensitivity
from lightning_langcore.callbacks.noise_sensitivity.flag_log import FlagLog
from lightning_langcore.data.datamodule import ResumableLoader
from lightning_langcore.monitoring.detector import Detector, Gradients, Rules, StepFeatures
from lightning_langcore.monitoring.novelty import CostMemory, Costs, PairMemory
from lightning_langcore.monitoring.text import NO_TEXT

ADAMW = partial(torch.optim.AdamW, lr=1e-2, weight_decay=0.5)
SGD = partial(torch.optim.SGD, lr=1e-1, momentum=0.9, weight_decay=0.1)
RULES = Rules(("loss", "grad_norm", "repetition", "unseen_pairs", "surprise"), "mean", 6.0, 128, 16, 32, 13, 32, 22)
Monitor = partial(NoiseSensitivity, max_repeats=12)  # rows of 16 tokens


def noisy(count, bad, rows=2, seed=0, **more):
    """Random batches with documents; the first row of the bad ones is one token again and again."""
    batches = [{k: v.clone() for k, v in batch.items()} for batch in blocks(count, rows=rows, seed=seed, **more)]
    for i, batch in enumerate(batches):
        entries = [{"source": "files", "language": "zh", "document": f"{i}-{row}"} for row in range(rows)]
        if i in bad:
            batch["input_ids"][0] = batch["shift_labels"][0] = 7
            entries[0]["tag"] = "repeat:16"
        batch["documents"] = [json.dumps([entry]) for entry in entries]
    return batches


def lines(folder):
    path = folder / "flagged.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def plain_loop(model, make_optimizer, batches, accumulate=1, clip=None, leave_out=()):
    """Steps, some of them not made."""
    optimizer = make_optimizer(
        [
            {"params": [p for p in model.parameters() if p.ndim >= 2]},
            {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0},
        ]
    )
    model.train()
    for step in range(len(batches) // accumulate):
        if step in leave_out:
            continue
        for batch in batches[step * accumulate : (step + 1) * accumulate]:
            logits = model(input_ids=batch["input_ids"], use_cache=False).logits.flatten(0, 1)
            loss = torch.nn.functional.cross_entropy(logits, batch["shift_labels"].flatten(), reduction="sum")
            (loss / batch["shift_labels"].numel() / accumulate).backward()
        if clip is not None:
            torch.nn.utils.clip_grad_norm_([p for g in optimizer.param_groups for p in g["params"]], clip)
        optimizer.step()
        optimizer.zero_grad()
    return optimizer


def assert_equal(one, two):
    for (name, a), (_, b) in zip(one.named_parameters(), two.named_parameters(), strict=True):
        assert torch.equal(a, b), name


@pytest.mark.parametrize("action", ["log", "skip"])
def test_attached_and_silent_training_is_bit_identical(tmp_path, action):
    model = tiny_llama(attention_dropout=0.1)
    states = []
    for watched in (False, True):
        module = ContinuedPretraining(copy.deepcopy(model), ADAMW, "cosine")
        monitor = NoiseSensitivity(action, dirpath=tmp_path, adam_every_n_steps=2, region=random_half(model))
        pl.seed_everything(1)
        batches = noisy(40, (), rows=2)
        more = {"accumulate_grad_batches": 2, "gradient_clip_val": 0.5, "max_steps": 20}
        trainer = fit(module, batches, [monitor] if watched else [], **more)
        states.append([*module.parameters(), *state_of(trainer.optimizers[0])])
    assert monitor.summary()["num_steps"] == 20
    assert lines(tmp_path) == []
    assert all(torch.equal(a, b) for a, b in zip(*states, strict=True))


@pytest.mark.parametrize("make_optimizer", [ADAMW, SGD, partial(ADAMW, fused=True)])
@pytest.mark.parametrize(("accumulate", "clip"), [(1, None), (2, 0.5)])
def test_a_skipped_step_was_never_made(tmp_path, make_optimizer, accumulate, clip):
    model = tiny_llama()
    reference = copy.deepcopy(model)
    bad = {2: 1, 9: 4, 11: 5} if accumulate == 2 else {0: 0, 5: 5}  # the first step too
    batches = noisy(12, bad)
    module = ContinuedPretraining(model, make_optimizer)
    monitor = Monitor("skip", dirpath=tmp_path)
    trainer = fit(module, batches, [monitor], accumulate_grad_batches=accumulate, gradient_clip_val=clip)
    optimizer = plain_loop(reference, make_optimizer, batches, accumulate, clip, set(bad.values()))
    assert_equal(model, reference)
    for mine, theirs in zip(state_of(trainer.optimizers[0]), state_of(optimizer), strict=True):
        assert torch.equal(mine, theirs)
    assert trainer.global_step == 12 // accumulate
    assert [line["step"] - 1 for line in lines(tmp_path)] == sorted(bad.values())
    assert [d["document"] for line in lines(tmp_path) for d in line["documents"]] == [f"{i}-0" for i in bad]


def test_the_schedule_goes_on_over_a_skipped_step(tmp_path):
    rates = []
    for bad in ((), (3,)):
        module = ContinuedPretraining(tiny_llama(), SGD, "cosine", num_warmup_steps=2)
        trainer = fit(module, noisy(8, bad), [Monitor("skip", dirpath=tmp_path)], max_steps=8, max_epochs=-1)
        rates.append((trainer.global_step, trainer.lr_scheduler_configs[0].scheduler.last_epoch))
    assert rates == [(8, 8), (8, 8)]


class Recorder(pl.Callback):
    """What the monitor said after each step."""

    def __init__(self):
        self.rows = []

    def on_train_batch_end(self, trainer, pl_module, *_):
        self.rows.append({k[6:]: float(v) for k, v in trainer.callback_metrics.items() if k.startswith("noise/")})


def test_signals_equal_plain_arithmetic(tmp_path):
    model = tiny_llama()
    reference = copy.deepcopy(model)
    region = random_half(model, fraction=0.1)
    batches = noisy(4, (1,))
    recorder = Recorder()
    monitor = Monitor("log", dirpath=tmp_path, region=region)
    module = ContinuedPretraining(model, partial(torch.optim.SGD, lr=0.0))
    fit(module, batches, [monitor, CoreGuard(region), recorder], accumulate_grad_batches=2, gradient_clip_val=0.1)
    losses: list[torch.Tensor] = []
    for batch in batches[2:]:
        logits = reference(input_ids=batch["input_ids"]).logits.flatten(0, 1)
        losses.append(torch.nn.functional.cross_entropy(logits, batch["shift_labels"].flatten()))
    (sum(losses) / 2).backward()
    parameters = dict(reference.named_parameters())
    squares = {name: float(p.grad.double().square().sum()) for name, p in parameters.items()}
    inside = sum(float(parameters[name].grad.double().view(-1)[idx].square().sum()) for name, idx in region)
    share = inside / sum(squares[name] for name in region.shapes) / region.fraction
    last = recorder.rows[-1]
    assert last["loss"] == pytest.approx(sum(float(loss.detach()) for loss in losses) / 2, rel=1e-5)
    assert last["grad_norm"] == pytest.approx(math.sqrt(sum(squares.values())), rel=1e-5)
    assert last["core_share"] == pytest.approx(share, rel=1e-4)
    assert last["repetition"] == 1.0
    assert recorder.rows[1]["repetition"] == 16.0
    assert last["unseen_pairs"] == pytest.approx(0.4 * 15)  # of the first step nothing was learned
    assert last["flagged"] == 1.0


@pytest.mark.parametrize("accumulate", [1, 2])
def test_surprise_is_that_of_the_labels_that_count(tmp_path, accumulate):
    batches = noisy(6, (3,))
    for batch in batches:
        batch["shift_labels"][1, 4:7] = -100
    model, recorder, memory, pairs = tiny_llama(), Recorder(), CostMemory(), PairMemory(22)
    module = ContinuedPretraining(model, partial(torch.optim.SGD, lr=0.0))
    fit(module, batches, [Monitor("log", dirpath=tmp_path), recorder], accumulate_grad_batches=accumulate)
    expected = []
    for first in range(0, 6, accumulate):
        step, costs = [], []
        for batch in batches[first : first + accumulate]:
            labels = batch["shift_labels"]
            logits = model(input_ids=batch["input_ids"]).logits.flatten(0, 1)
            nats = torch.nn.functional.cross_entropy(logits, labels.flatten(), reduction="none").view(labels.shape)
            nats, labels = nats.detach().numpy()[:, :-1], labels.numpy()[:, :-1]
            is_new, hashes = pairs.look(batch["input_ids"].numpy(), np.ones(labels.shape, dtype=bool))
            step.append((memory.surprise(labels, nats, is_new), hashes))
            costs.append(Costs.of(labels[labels >= 0], nats[labels >= 0], is_new[labels >= 0]))
        expected.append(None if first == 0 else max(values.max() for values, _ in step))
        if first // accumulate != 3 // accumulate:  # the flagged step isn't learned
            memory.add(costs)
            for _, hashes in step:
                pairs.add(hashes)
    found = [row.get("surprise") for row in recorder.rows[accumulate - 1 :: accumulate]]
    assert found[0] is None
    assert found[1:] == pytest.approx(expected[1:], rel=1e-5)


class Silent(ContinuedPretraining):
    """A module that does not say what tokens cost."""

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        del self.token_nats
        return loss


def test_a_module_that_does_not_say_what_tokens_cost_has_no_surprise(tmp_path):
    recorder = Recorder()
    fit(Silent(tiny_llama(), SGD), noisy(4, ()), [Monitor(dirpath=tmp_path), recorder])
    assert set(recorder.rows[-1]) == {"loss", "grad_norm", "repetition", "unseen_pairs", "flagged"}


def test_pairs_of_accepted_steps_are_known(tmp_path):
    batches = noisy(2, ())
    batches[1] = copy.deepcopy(batches[0])
    recorder = Recorder()
    fit(ContinuedPretraining(tiny_llama(), SGD), batches, [Monitor(dirpath=tmp_path), recorder])
    assert [row["unseen_pairs"] for row in recorder.rows] == [pytest.approx(0.4 * 15), 0.0]


def test_rows_without_labels_and_padding_are_not_looked_at(tmp_path):
    batches = noisy(2, ())
    for row in (0, 1):
        batches[0]["input_ids"][row, 3:] = 0
        batches[0]["shift_labels"][row, 2:] = -100
    batches[1]["input_ids"][1] = 5
    batches[1]["shift_labels"][1] = -100
    monitor = Monitor(dirpath=tmp_path)
    fit(ContinuedPretraining(tiny_llama(), SGD), batches, [monitor])
    assert monitor.summary()["num_flagged"] == 0


def test_clip_scales_down_to_the_mean_norm_of_the_accepted_steps(tmp_path):
    class Norms(pl.Callback):
        seen = ()

        def on_before_optimizer_step(self, trainer, pl_module, optimizer):
            norm = torch.nn.utils.get_total_norm([p.grad for p in pl_module.parameters() if p.grad is not None])
            self.seen = (*self.seen, float(norm))

    module = ClipBlocks(tiny_llama(), partial(torch.optim.SGD, lr=0.0))
    batches, norms = noisy(6, (5,)), Norms()
    fit(module, batches, [norms, Monitor("clip", dirpath=tmp_path)], gradient_clip_val=1.0)
    assert norms.seen[5] > np.mean(norms.seen[:5])
    assert module.norm == pytest.approx(np.mean(norms.seen[:5]), rel=1e-4)
    assert [(line["step"], line["action"]) for line in lines(tmp_path)] == [(6, "clip")]


class Fainter(ClipBlocks):
    """The last batch counts for little."""

    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx) * (0.01 if batch_idx == 5 else 1.0)


def test_clip_never_scales_up(tmp_path):
    norms = []
    for bad in ((), (5,)):
        module = Fainter(tiny_llama(), partial(torch.optim.SGD, lr=0.0))
        batches = noisy(6, bad)
        batches[5] = noisy(6, (5,))[5]
        monitor = Monitor("clip" if bad else "log", dirpath=tmp_path)
        fit(module, batches, [monitor], gradient_clip_val=1.0)
        norms.append(module.norm)
        assert monitor.summary()["num_flagged"] == 1
    assert norms[0] == norms[1]


def test_clip_skips_where_nothing_is_usual_yet(tmp_path):
    model = tiny_llama()
    module = ContinuedPretraining(copy.deepcopy(model), ADAMW)
    fit(module, noisy(1, (0,)), [Monitor("clip", dirpath=tmp_path)])
    assert_equal(module.model, model)
    assert [line["action"] for line in lines(tmp_path)] == ["skip"]


def test_stop_ends_training_with_the_weights_before_the_step(tmp_path):
    model = tiny_llama()
    reference = copy.deepcopy(model)
    batches = noisy(8, (3,))
    module = ContinuedPretraining(model, ADAMW)
    with pytest.warns(UserWarning, match=r"training ends before step 4, which is flagged: repetition"):
        trainer = fit(module, batches, [Monitor("stop", dirpath=tmp_path)])
    plain_loop(reference, ADAMW, batches[:3])
    assert_equal(model, reference)
    assert trainer.global_step == 4


def test_a_guard_behind_the_monitor_works_and_one_before_it_is_refused(tmp_path):
    model, batches = tiny_llama(), noisy(8, (0, 5))
    region = random_half(model)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    module = ContinuedPretraining(model, ADAMW)
    guard, monitor = CoreGuard(region), Monitor("skip", dirpath=tmp_path, region=region)
    fit(module, batches, [monitor, guard], gradient_clip_val=0.5)
    clean = ContinuedPretraining(tiny_llama(), ADAMW)
    fit(clean, [b for i, b in enumerate(batches) if i not in (0, 5)], [CoreGuard(region)], gradient_clip_val=0.5)
    assert_equal(module, clean)
    for name, idx in region:
        assert torch.equal(dict(model.named_parameters())[name].view(-1)[idx], before[name].view(-1)[idx])
    with pytest.raises(ValueError, match="put NoiseSensitivity before CoreGuard"):
        fit(module, batches, [guard, monitor])


class Shares(ContinuedPretraining):
    """Two ranks take the rows in turns, so that together they see one rank's batches."""

    batches = ()

    def train_dataloader(self):
        rows = Rows(self.batches)
        share = list(range(self.trainer.global_rank, len(rows), 2))
        return torch.utils.data.DataLoader(torch.utils.data.Subset(rows, share), batch_size=1)


def two_epochs(monitor, module, batches, folder, **more):
    trainer = pl.Trainer(**Plain(folder, **({"max_steps": 2 * len(batches)} | more)), callbacks=monitor)
    trainer.fit(module, ResumableLoader(Rows(batches), batch_size=2))
    return trainer


class Labels(ContinuedPretraining):
    """Keeps the labels of each batch."""

    seen = ()

    def training_step(self, batch, batch_idx):
        self.seen = (*self.seen, batch["shift_labels"].clone())
        return super().training_step(batch, batch_idx)


def test_a_skipped_document_stays_skipped_in_the_next_epoch(tmp_path):
    batches = noisy(6, (1, 4))
    batches[3]["documents"][1] = batches[1]["documents"][0]  # the same document in another row
    batches[4]["documents"][1] = batches[4]["documents"][0]  # nothing is left of this step
    original = copy.deepcopy(batches)
    module = Labels(tiny_llama(), ADAMW)
    monitor = Monitor("skip", dirpath=tmp_path)
    two_epochs([monitor], module, batches, tmp_path)
    assert [line["step"] for line in lines(tmp_path)] == [2, 5]  # masked rows are not flagged anew
    masked = [[i for i in range(2) if (labels[i] == -100).all()] for labels in module.seen]
    assert masked == [[], [], [], [1], [], [], [], [0], [], [1], [0, 1], []]
    assert monitor.summary()["num_masked_rows"] == 5
    assert monitor.summary()["num_skipped"] == 3
    for batch, before in zip(batches, original, strict=True):
        assert torch.equal(batch["shift_labels"], before["shift_labels"])
    reference = ContinuedPretraining(tiny_llama(), ADAMW)
    left = [
        {"input_ids": batches[i % 6]["input_ids"], "shift_labels": labels, "num_documents": torch.ones(2)}
        for i, labels in enumerate(module.seen)
        if i not in (1, 4, 10)
    ]
    fit(reference, left, [])
    assert_equal(module, reference)


def test_translations_share_a_key_but_are_not_one_document(tmp_path):
    batches = noisy(2, (0,))
    entry = {"source": "files", "language": "en", "document": "0-0"}
    batches[1]["documents"][0] = json.dumps([entry])
    monitor = Monitor("skip", dirpath=tmp_path)
    fit(ContinuedPretraining(tiny_llama(), SGD), batches, [monitor])
    assert monitor.summary()["num_masked_rows"] == 0


def test_resumed_equals_uninterrupted(tmp_path):
    batches = noisy(12, (2, 5, 9))
    batches[8]["documents"][0] = batches[2]["documents"][0]
    short = {"min_window": 4, "window": 6}  # so that windows decide too

    def run(folder, monitor_folder, max_steps, seed, **more):
        module = ContinuedPretraining(tiny_llama(seed), ADAMW)
        monitor = Monitor("skip", dirpath=monitor_folder, **short)
        save = pl.callbacks.ModelCheckpoint(folder, every_n_train_steps=8, save_top_k=-1)
        trainer = pl.Trainer(**Plain(folder, max_steps=max_steps), callbacks=[monitor, save])
        trainer.fit(module, loader(batches), **more)
        return module, monitor, trainer

    whole, one, trainer = run(tmp_path / "a", tmp_path / "a", 24, 0)
    run(tmp_path / "b", tmp_path / "b", 11, 0)  # crashed three steps after its last checkpoint
    assert [line["step"] for line in lines(tmp_path / "b")][-1] > 8
    (path,) = (tmp_path / "b").glob("*.ckpt")
    more = {"ckpt_path": path, "weights_only": True}
    resumed, two, again = run(tmp_path / "c", tmp_path / "b", 24, 1, **more)
    assert_equal(resumed, whole)
    for mine, theirs in zip(state_of(again.optimizers[0]), state_of(trainer.optimizers[0]), strict=True):
        assert torch.equal(mine, theirs)
    assert lines(tmp_path / "b") == lines(tmp_path / "a")
    assert {"grad_norm", "repetition"} <= {reason for line in lines(tmp_path / "a") for reason in line["reasons"]}
    assert two.summary() == one.summary()
    assert one.summary()["num_masked_rows"] > 3
    mine, theirs = two.state_dict(), one.state_dict()
    assert mine.pop("skipped") == theirs.pop("skipped")
    assert mine.pop("tally") == theirs.pop("tally")
    assert mine["judge"].pop("streak_reasons") == theirs["judge"].pop("streak_reasons")
    torch.testing.assert_close(mine, theirs, rtol=0, atol=0)


def test_other_settings_on_resume_start_their_windows_afresh(tmp_path):
    batches = noisy(12, ())
    save = pl.callbacks.ModelCheckpoint(tmp_path, every_n_train_steps=6, save_last=True)
    for window, step in ((20, 6), (30, 8)):
        monitor = Monitor(dirpath=tmp_path, window=window, min_window=4)
        trainer = pl.Trainer(**Plain(tmp_path, max_steps=step), callbacks=[monitor, save])
        module = ContinuedPretraining(tiny_llama(), SGD)
        if step == 6:
            trainer.fit(module, loader(batches))
        else:
            with pytest.warns(UserWarning, match="the checkpoint has other settings; afresh: loss, grad_norm"):
                trainer.fit(module, loader(batches), ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    assert monitor.summary()["num_steps"] == 8


class Regression(pl.LightningModule):
    """A module that this project did not write: no text, no labels."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(3, 1)

    def training_step(self, batch, batch_idx):
        return (self.layer(batch["x"]) - batch["y"]).square().mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0, momentum=0.9)


def points(count, bad):
    generator = torch.Generator().manual_seed(0)
    xs, ys = torch.randn(count, 8, 3, generator=generator), torch.randn(count, 8, generator=generator)
    for i, scale in bad.items():
        ys[i] *= scale
    return [{"x": x, "y": y} for x, y in zip(xs, ys, strict=True)]


def run_points(monitor, batches, module=None, **more):
    module = module or Regression()
    arguments = {"max_epochs": 1, "enable_checkpointing": False} | more
    trainer = pl.Trainer(**Plain(None, **arguments), callbacks=[monitor])
    trainer.fit(module, torch.utils.data.DataLoader(batches, batch_size=None))
    return trainer


@pytest.mark.filterwarnings("ignore:.*no input_ids")
@pytest.mark.parametrize("statistic", ["mean", "median"])
def test_outliers_of_any_module_are_flagged_and_nothing_else(tmp_path, statistic):
    bad = {30: 6.0, 31: 6.0, 90: float("nan"), 150: 1e30}
    more = {"signals": ("loss", "grad_norm_worst"), "adam_every_n_steps": 0}
    monitor = NoiseSensitivity("skip", dirpath=tmp_path, statistic=statistic, **more)
    run_points(monitor, points(200, bad))
    found = lines(tmp_path)
    assert [line["step"] - 1 for line in found] == list(bad)
    assert found[0]["reasons"]["loss"] > 7
    assert found[0]["worst_tensor"] in ("layer.weight", "layer.bias")
    assert found[2]["signals"]["loss"] == "nan"
    assert found[2]["reasons"] == {"loss": "not finite", "grad_norm": "not finite"}
    assert found[2]["worst_tensor"] is None
    assert found[0]["documents"] == found[0]["heads"] == []


def test_a_batch_without_text_is_said_once(tmp_path):
    with pytest.warns(UserWarning, match="batches have no input_ids"):
        run_points(NoiseSensitivity(dirpath=tmp_path), points(3, {}))


@pytest.mark.filterwarnings("ignore:.*no input_ids")
def test_what_is_never_finite_ends_in_an_error_that_says_so(tmp_path):
    module = Regression()
    before = copy.deepcopy(module.state_dict())
    monitor = NoiseSensitivity("skip", dirpath=tmp_path, max_consecutive=5)
    with pytest.raises(ValueError, match=r"max_consecutive=5 steps in a row were skipped, and at step 7 .* not finite"):
        run_points(monitor, points(20, dict.fromkeys(range(2, 20), float("inf"))), module)
    assert all(torch.equal(before[k], v) for k, v in module.state_dict().items())
    assert len(lines(tmp_path)) == 5


@pytest.mark.filterwarnings("ignore:.*no input_ids")
def test_a_new_level_is_accepted_after_max_consecutive_steps(tmp_path):
    monitor = NoiseSensitivity("skip", dirpath=tmp_path, max_consecutive=8, adam_every_n_steps=0)
    with pytest.warns(UserWarning, match=r"max_consecutive=8 .* the last at step 38 for loss, grad_norm"):
        run_points(monitor, points(100, dict.fromkeys(range(30, 100), 10.0)))
    found = lines(tmp_path)
    assert [line["step"] for line in found] == list(range(31, 39))
    assert [line["step"] for line in found if line.get("restarted")] == [38]


def test_a_new_level_of_repetition_is_accepted_too(tmp_path):
    batches = noisy(12, range(2, 12))
    batches[11]["input_ids"] = torch.full((2, 40), 7)
    batches[11]["shift_labels"] = torch.full((2, 40), 7)
    monitor = Monitor(dirpath=tmp_path, max_consecutive=4)
    trainer = pl.Trainer(**Plain(None, max_epochs=1, enable_checkpointing=False), callbacks=[monitor])
    with pytest.warns(UserWarning, match=r"max_consecutive=4"):
        trainer.fit(ContinuedPretraining(tiny_llama(), SGD), torch.utils.data.DataLoader(batches, batch_size=None))
    assert [line["step"] for line in lines(tmp_path)] == [3, 4, 5, 6, 12]


def test_counts_against_tags(tmp_path):
    batches = noisy(10, (2, 6))
    for i, row, tag in ((4, 0, "nonword:3"), (2, 1, None), (6, 0, "repeat:16")):
        more = {"source": "files", "language": "zh", "document": f"more-{i}-{row}"}
        entries = [more, *json.loads(batches[i]["documents"][row])]
        entries[0] |= {} if tag is None else {"tag": tag}
        batches[i]["documents"][row] = json.dumps(entries)
    batches[8]["input_ids"][1] = batches[8]["shift_labels"][1] = 9  # nobody knows of this noise
    monitor = Monitor(dirpath=tmp_path)
    fit(ContinuedPretraining(tiny_llama(), SGD), batches, [monitor])
    assert monitor.summary() == {
        "num_steps": 10, "num_flagged": 3, "num_skipped": 0, "num_masked_rows": 0, "num_clean_steps": 7,
        "num_false_alarms": 1, "num_tagged": 4, "num_caught": 3, "precision": 1 - 1 / 3, "recall": 0.75,
    }  # fmt: skip


def test_a_line_tells_documents_and_heads_of_the_rows_that_are_flagged(tmp_path, tokenizer):
    batches = noisy(3, (1,))
    batches[2]["input_ids"][1] = batches[2]["shift_labels"][1] = 8
    batches[2]["documents"][1] = "a plain name"
    monitor = Monitor("skip", dirpath=tmp_path / "new", tokenizer=tokenizer)
    fit(ContinuedPretraining(tiny_llama(), SGD), batches, [monitor])
    first, second = lines(tmp_path / "new")
    assert first["documents"] == [{"source": "files", "language": "zh", "document": "1-0", "tag": "repeat:16"}]
    assert first["heads"] == [tokenizer.decode([7] * 16)]
    assert first["reasons"] == {"repetition": 16.0}
    assert set(first["signals"]) == {"loss", "grad_norm", "repetition", "unseen_pairs", "surprise"}
    assert second["documents"] == ["a plain name"]
    long = blocks(1, size=200, rows=1)
    long[0]["input_ids"][0] = 40
    FlagLog(tmp_path / "new" / "flagged.jsonl", 0)
    fit(ContinuedPretraining(tiny_llama(), SGD), long, [monitor])
    assert lines(tmp_path / "new")[0]["heads"] == [tokenizer.decode([40] * 80)[:80]]


def test_a_file_keeps_whole_lines_up_to_the_resumed_step(tmp_path):
    path = tmp_path / "flagged.jsonl"
    path.write_text('{"step": 3}\n{"step": 8}\n{"step": 9}\n{"st')
    FlagLog(path, 8)
    assert path.read_text() == '{"step": 3}\n{"step": 8}\n'
    path.write_text("something else\n")
    with pytest.raises(ValueError, match=r"flagged.jsonl, line 1, is no flagged step"):
        FlagLog(path, 8)


class Both(pl.Callback):
    """Each rank writes its weights down."""

    def __init__(self, folder):
        self.folder = folder

    def on_train_end(self, trainer, pl_module):
        torch.save(pl_module.state_dict(), self.folder / f"{trainer.global_rank}.pt")


def test_two_ranks_decide_alike_from_what_both_saw(tmp_path):
    batches = noisy(16, (5, 12), rows=2)
    batches[5]["input_ids"][[0, 1]] = batches[5]["input_ids"][[1, 0]]  # rank 1 has the noise of step 6, rank 0 of 13
    batches[5]["shift_labels"][[0, 1]] = batches[5]["shift_labels"][[1, 0]]
    batches[5]["documents"].reverse()

    def run(folder, max_steps, **more):
        monitor = Monitor("skip", dirpath=folder)
        save = pl.callbacks.ModelCheckpoint(folder, every_n_train_steps=8, save_top_k=-1)
        arguments = {"devices": 2, "strategy": "ddp_fork", "max_steps": max_steps, "use_distributed_sampler": False}
        trainer = pl.Trainer(**Plain(folder, **arguments), callbacks=[monitor, save, Both(folder)])
        module = Shares(tiny_llama(), SGD)
        module.batches = batches
        trainer.fit(module, **more)

    run(tmp_path / "two", 32)
    first, second = (torch.load(tmp_path / "two" / f"{rank}.pt") for rank in (0, 1))
    assert all(torch.equal(first[name], value) for name, value in second.items())
    one = Monitor("skip", dirpath=tmp_path / "one")
    two_epochs([one], ContinuedPretraining(tiny_llama(), SGD), batches, tmp_path / "one")
    found, expected = lines(tmp_path / "two"), lines(tmp_path / "one")
    assert [line["step"] for line in found] == [line["step"] for line in expected] == [6, 13]
    for mine, theirs in zip(found, expected, strict=True):
        assert mine["documents"] == theirs["documents"]
        assert mine["heads"] == theirs["heads"]
        assert mine["signals"] == pytest.approx(theirs["signals"], rel=1e-4)
    path = next((tmp_path / "two").glob("*step=8.ckpt"))
    checkpoint = torch.load(path, weights_only=True)
    state = checkpoint["callbacks"]["NoiseSensitivity"]
    half, module = Monitor("skip", dirpath=tmp_path / "half"), ContinuedPretraining(tiny_llama(), SGD)
    two_epochs([half], module, batches, tmp_path / "half", max_steps=8)
    for name, value in module.state_dict().items():
        torch.testing.assert_close(checkpoint["state_dict"][name], value, rtol=1e-4, atol=1e-6)
    mine, theirs = state["judge"]["text"], half.state_dict()["judge"]["text"]
    assert torch.equal(mine["pairs"], theirs["pairs"])
    torch.testing.assert_close(mine["costs"], theirs["costs"], rtol=1e-4, atol=1e-4)
    assert state["tally"] == half.state_dict()["tally"]
    assert state["skipped"] == half.state_dict()["skipped"] == ["files/zh/5-0"]


def scaled(action, folder):
    monitor = NoiseSensitivity(action, dirpath=folder, signals=("loss", "grad_norm"), adam_every_n_steps=0)
    scaler = torch.amp.GradScaler("cpu", init_scale=16.0, growth_interval=20)
    return monitor, {"plugins": [MixedPrecision("16-mixed", "cpu", scaler)]}


@pytest.mark.parametrize("action", ["skip", "stop"])
def test_a_scaler_is_refused_where_steps_are_skipped(tmp_path, action):
    monitor, more = scaled(action, tmp_path)
    with pytest.raises(ValueError, match=r"GradScaler wants gradients: use trainer\.precision=bf16-mixed"):
        run_points(monitor, points(2, {}), **more)


@pytest.mark.filterwarnings("ignore:.*lr_scheduler.step")
def test_under_a_scaler_figures_are_unscaled_and_overflows_are_no_flags(tmp_path):
    module, recorder = Regression(), Recorder()
    monitor, more = scaled("log", tmp_path)
    batches = points(60, {40: 20.0, 50: 1e4})
    trainer = pl.Trainer(**Plain(None, max_epochs=1, enable_checkpointing=False, **more), callbacks=[monitor, recorder])
    trainer.fit(module, torch.utils.data.DataLoader(batches, batch_size=None))
    for batch, row in zip(batches[:40], recorder.rows, strict=False):
        loss = (module.layer(batch["x"]) - batch["y"]).square().mean()
        gradients = torch.autograd.grad(loss, list(module.parameters()))
        assert row["loss"] == pytest.approx(float(loss.detach()), rel=2e-2)  # float16
        assert row["grad_norm"] == pytest.approx(float(torch.nn.utils.get_total_norm(gradients)), rel=2e-2)
    assert [line["step"] for line in lines(tmp_path)] == [41]


def features(loss, norms, unseen, surprise=None):
    rows, repeats = [(0, i) for i in range(len(unseen))], np.ones(len(unseen), np.int64)
    text = NO_TEXT._replace(rows=rows, repeats=repeats, unseen=unseen, surprise=surprise)
    return [StepFeatures(loss, 1, 0, text, Gradients(norms, None, None), None)]


@pytest.mark.parametrize("statistic", ["mean", "median"])
def test_steady_noise_of_any_early_or_late_step_is_no_alarm(statistic):
    rng = np.random.default_rng(0)
    flagged = 0
    for _ in range(20):  # the first 128 steps count most
        decide = Detector(RULES._replace(statistic=statistic), 4)
        for step in range(150):
            loss = 3 + 5 * math.exp(-step / 30) + 0.1 * rng.standard_normal()
            unseen = 5 + 40 / (1 + step / 10) + 2 * rng.standard_normal(8)
            flagged += bool(decide.decide(features(loss, list(rng.lognormal(0, 0.1, 4)), unseen)).reasons)
    assert flagged <= 3  # of 3000


@pytest.mark.parametrize(("statistic", "caught"), [("mean", False), ("median", True)])
def test_noise_in_a_fifth_of_the_rows_hides_itself_from_the_mean(statistic, caught):
    rng = np.random.default_rng(0)
    decide = Detector(RULES._replace(statistic=statistic, max_consecutive=1000), 1)
    hits = []
    for step in range(200):
        unseen = 5 / (1 + step / 20) + rng.standard_normal(5)
        unseen[0] = 40
        hits.append(bool(decide.decide(features(3.0, [1.0], unseen)).reasons))
    assert all(hits[20:]) is caught
    assert any(hits) is caught


def test_surprise_is_judged_by_the_worst_rows_of_steps():
    rng = np.random.default_rng(0)
    decide = Detector(RULES, 1)
    nothing = np.zeros(64)
    for _ in range(100):  # judged row by row, one step in 17 would have one that is 6 sigmas above the mean
        surprise = rng.exponential(2.0, 64)
        assert not decide.decide(features(3.0, [1.0], nothing, surprise)).reasons
    surprise[[3, 9]] = 60.0, 50.0
    decision = decide.decide(features(3.0, [1.0], nothing, surprise))
    assert (list(decision.reasons), decision.suspicious) == (["surprise"], [[3, 9]])


def test_surprising_noise_that_slips_in_does_not_hide_the_next():
    rng = np.random.default_rng(0)
    decide = Detector(RULES, 1)
    flagged = []
    for step in range(120):
        surprise = rng.normal(10.0, 1.0, 1)
        if step >= 40 and step % 4 == 0:
            surprise += 5.0  # too little to be flagged
        if step == 119:
            surprise += 12.0
        flagged.append(bool(decide.decide(features(3.0, [1.0], np.zeros(1), surprise)).reasons))
    assert not any(flagged[:-1])
    assert flagged[-1]


def test_only_the_rows_that_are_flagged_are_suspicious():
    decide = Detector(RULES, 1)
    for _ in range(10):
        decide.decide(features(3.0, [1.0], 2 + np.arange(8) / 10))
    decision = decide.decide(features(3.0, [1.0], np.array([2, 30, 3.1])))
    assert (list(decision.reasons), decision.suspicious) == (["unseen_pairs"], [[1]])
    decision = decide.decide(features(9.0, [1.0], np.array([2, 2, 3.1])))
    assert (list(decision.reasons), decision.suspicious) == ([], [[]])  # ten losses are too few to judge


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"action": "drop"}, "action='drop' must be one of log, skip, clip, stop"),
        ({"signals": ("los",)}, "must be a list of loss, grad_norm"),
        ({"signals": "loss"}, "signals=loss must be a list"),
        ({"signals": ("core_share",)}, "signals has core_share, which needs region"),
        ({"signals": ("adam_ratio",), "adam_every_n_steps": 0}, "adam_every_n_steps=0 is never"),
        ({"adam_every_n_steps": -1}, "adam_every_n_steps=-1 must be 0"),
        ({"statistic": "mode"}, "statistic='mode' must be mean or median"),
        ({"threshold": 0.0}, "threshold=0.0 sigmas must be above 0"),
        ({"window": 8}, "window=8 must be at least 16"),
        ({"min_window": 3}, "min_window=3 must be at least 4"),
        ({"max_repeats": 1}, "max_repeats=1 must be at least 2"),
        ({"max_period": 0}, "max_period=0 must be at least 1"),
        ({"max_consecutive": 0}, "max_consecutive=0 must be at least 1"),
        ({"pair_bits": 50}, "pair_bits=50 must be at most 34"),
        ({"region": "none.safetensors"}, "no region file at"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        NoiseSensitivity(**settings)


def test_what_cant_be_honoured_is_refused_by_name():
    class ByHand(Regression):
        automatic_optimization = False

    monitor = NoiseSensitivity("skip")
    with pytest.raises(ValueError, match=r"ByHand, which optimizes by hand \(automatic_optimization=False\)"):
        run_points(monitor, points(1, {}), ByHand())
    trainer = pl.Trainer(**Plain(None, max_steps=1), callbacks=[monitor])
    trainer.strategy.__class__ = pl.strategies.ModelParallelStrategy
    with pytest.raises(ValueError, match="ModelParallelStrategy: use one device or strategy=ddp"):
        monitor.setup(trainer, Regression(), "fit")


def test_a_region_of_another_model_is_refused_before_the_first_step(tmp_path):
    region = random_half(tiny_llama(hidden_size=48, intermediate_size=96))
    with pytest.raises(ValueError, match="the region belongs to another model"):
        fit(ContinuedPretraining(tiny_llama(), SGD), noisy(1, ()), [Monitor(dirpath=tmp_path, region=region)])


def test_an_optimizer_without_second_moments_is_said(tmp_path):
    monitor = Monitor(dirpath=tmp_path, adam_every_n_steps=2)
    with pytest.warns(UserWarning, match="adam_every_n_steps=2 is idle, for SGD keeps no exp_avg_sq"):
        fit(ContinuedPretraining(tiny_llama(), SGD), noisy(4, ()), [monitor])
