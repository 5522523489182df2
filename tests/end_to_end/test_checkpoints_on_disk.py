"""Locating from models that only lie on disk."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from lightning_langcore import Region, select
from lightning_langcore.importance.statistics import CheckpointChanges
from lightning_langcore.models.parameters import candidates
from lightning_langcore.models.safetensors_reader import Weights
from lightning_langcore.results.record import Results
from tests.support.commands import run
from tests.support.located import LANGUAGES, base_of


@pytest.fixture(scope="module")
def disk(work):
    """A base and three models trained from it, in shards, that only lie on disk."""
    base = base_of(work)
    folder = work / "disk"
    for number, lang in enumerate([None, *LANGUAGES]):
        tensors = {}
        for position, name in enumerate(base):
            noise = torch.randn(base[name].shape, generator=torch.Generator().manual_seed(100 * number + position))
            tensors[name] = base[name] + (0.01 * noise if lang else 0)
        names = sorted(tensors)
        shards = {"model-1.safetensors": names[::2], "model-2.safetensors": names[1::2]}
        target = folder / (lang or "base")
        target.mkdir(parents=True)
        for shard, members in shards.items():
            save_file({name: tensors[name] for name in members}, target / shard)
        index = {name: shard for shard, members in shards.items() for name in members}
        (target / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    return folder


def from_disk(work, disk, *words, expect=0, trained=LANGUAGES):
    folders = ", ".join(f"{lang}: {disk}/{lang}" for lang in trained)
    where = ["job.source=checkpoints", f"job.base={disk}/base", f"+job.trained={{{folders}}}"]
    return run(work, "+experiment=locate_core", *where, *words, expect=expect)


@pytest.mark.parametrize("scope", ["tensor", "model"])
def test_locating_from_disk_equals_plain_arithmetic(work, disk, scope):
    from_disk(work, disk, f"region.scope={scope}", "region.score=weight_change", f"hydra.run.dir=disk-{scope}")
    base = Weights(disk / "base")
    after = {lang: Weights(disk / lang) for lang in LANGUAGES}
    scores = {
        name: sum(
            ((after[lang][name] - base[name]).abs() for lang in LANGUAGES[1:]), (after["es"][name] - base[name]).abs()
        )
        for name in candidates(base.shapes)
    }
    folder = work / f"disk-{scope}"
    assert Region.load(folder / "core.safetensors") == select(scores, 0.05, "lowest", scope=scope)
    assert not list((work / "artifacts").glob("locating-*"))
    union = (folder / "union.csv").read_text().splitlines()
    assert len(union) == 1 + len(base)
    assert Results.load(folder).model["num_weights"] == sum(t.numel() for t in base.values())


def test_an_interrupted_search_of_checkpoints_goes_on(work, disk, monkeypatch):
    statistic = "lightning_langcore.importance.statistics.CheckpointChanges.statistic"
    plain, calls = CheckpointChanges.statistic, []

    def stopping(self, *words):
        calls.append(words)
        if len(calls) == 20:
            raise KeyboardInterrupt
        return plain(self, *words)

    words = ["region.score=weight_change", "region.fraction=0.3"]
    monkeypatch.setattr(statistic, stopping)
    done = from_disk(work, disk, *words, "hydra.run.dir=stopped", expect=130)
    assert "interrupted" in done.stderr
    assert list((work / "artifacts").glob("locating-*"))
    assert not list((work / "stopped").glob("*.safetensors"))
    monkeypatch.setattr(statistic, lambda self, *words: calls.append(words) or plain(self, *words))
    calls.clear()
    from_disk(work, disk, *words, "hydra.run.dir=resumed")
    resumed = len(calls)
    assert not list((work / "artifacts").glob("locating-*"))
    calls.clear()
    from_disk(work, disk, *words, "hydra.run.dir=whole")
    assert 0 < resumed <= len(calls) - 18
    assert (work / "resumed/core.safetensors").read_bytes() == (work / "whole/core.safetensors").read_bytes()


def test_bad_checkpoints_are_one_sentence(work, disk, tmp_path):
    def refused(*words, **more):
        done = from_disk(work, disk, *words, expect=1, **more)
        assert "Traceback" not in done.stderr
        return done.stderr

    assert "name them with job.base=FOLDER" in refused("job.base=null")
    assert "no safetensors weights at" in refused(f"job.base={tmp_path}")
    assert "needs passes over text, and job.source=checkpoints makes none" in refused("region.score=taylor")
    assert "needs a model to run" in refused("region.kind=core-outliers")
    assert "needs a model to run" in refused("region.kind=outliers")
    assert "job.source=checkpoint is none of text, checkpoints" in refused("job.source=checkpoint")
    assert "region.score=foo is none of" in refused("region.score=foo")
    assert "job.union_thresholds=['a'] must be a list" in refused("job.union_thresholds=[a]")
    assert "fr is none of the located es, ru, zh" in refused("region.families={west: [es, fr]}")
    assert "must be null, or a list of languages by name, as {romance: [es, fr]}" in refused(
        "region.families={west: es}"
    )
    assert "region.kind=file has no meaning for job.name=locate" in refused("region=file", "region.file=r")
    assert "mono:en: en is none of the located" in refused("region.kind=mono:en")
    shard = disk / "zh" / "model-2.safetensors"
    content = shard.read_bytes()
    shard.unlink()
    assert "model-2.safetensors" in refused()
    tensors = load_file(disk / "zh" / "model-1.safetensors")
    name = next(n for n in tensors if "proj" in n)
    broken = {**tensors, name: tensors[name].clone()}
    broken[name].view(-1)[5] = float("nan")
    shard.write_bytes(content)
    save_file(broken, disk / "zh" / "model-1.safetensors")
    assert f"{name} holds a weight that is not finite" in refused("region.fraction=0.07")
    save_file(tensors, disk / "zh" / "model-1.safetensors")
    still = from_disk(work, disk, "region.fraction=0.5", "hydra.run.dir=sound")
    assert "error" not in still.stderr


def test_a_core_of_weights_that_never_moved_is_refused_and_single_languages_are_left_out(work, disk, tmp_path):
    for lang in LANGUAGES:
        (tmp_path / lang).mkdir()
        for shard in (disk / lang).glob("*.safetensors"):
            start = load_file(disk / "base" / shard.name)
            moved = load_file(shard)
            for name in moved:
                if lang == "zh" and moved[name].ndim == 2:  # one language moves a fifth only
                    keep = torch.arange(moved[name].numel()) % 5 > 0
                    moved[name].view(-1)[keep] = start[name].view(-1)[keep]
            save_file(moved, tmp_path / lang / shard.name)
    (tmp_path / "base").symlink_to(disk / "base")
    done = from_disk(work, tmp_path, "hydra.run.dir=still")
    assert "no region language:zh is made: 80." in done.stderr
    assert "did not move in zh" in done.stderr
    assert not (work / "still/language/zh.safetensors").exists()
    assert (work / "still/language/ru.safetensors").exists()
    done = from_disk(work, tmp_path, "hydra.run.dir=still2", expect=1, trained=["zh"])
    assert "did not move in any language, which is no less than region.fraction=0.05" in done.stderr
