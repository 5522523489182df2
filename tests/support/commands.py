"""A small run as a user would start it, for tests of the command line and of jobs: text, settings, commands."""

import io
import os
import sys
from contextlib import redirect_stderr, redirect_stdout
from types import SimpleNamespace

import pytest
from matplotlib.figure import Figure

from lightning_langcore.cli import main
from tests.support import forked
from tests.support.paths import ROOT
from tests.support.pictures import write_pixel

SMALL = [
    "model.vocab_size=400",
    "model.config.hidden_size=32",
    "model.config.intermediate_size=64",
    "model.config.num_hidden_layers=2",
    "model.config.num_attention_heads=2",
    "model.config.num_key_value_heads=2",
    "model.base.tokens=20000",
    "model.base.tokenizer_documents=50",
    "region.recipe.tokens=3000",
    "data.block_size=64",
    "data.num_tokens=6000",
    "data.num_eval_tokens.test=300",
    "data.num_eval_tokens.validation=100",
]
SAMPLES = {
    "zh": "猫坐在垫子上，看着窗外的第{i}只鸟。今天的天气很好，小猫想出去玩。",
    "en": "The cat sits on mat {i} and looks at a bird. The weather is fine, the cat wants to go out and play.",
    "es": "El gato está en la alfombra {i} y mira un pájaro. Hace buen tiempo y el gato quiere salir a jugar.",
    "ru": "Кошка сидит на коврике {i} и смотрит на птицу. Погода хорошая, кошка хочет выйти поиграть.",
}


def write_samples(folder):
    """Four languages of text, 400 documents each, in ``folder``/text."""
    (folder / "text").mkdir()
    for lang, text in SAMPLES.items():
        lines = [text.format(i=i) + " " + text.format(i=i * 7 % 400) for i in range(400)]
        (folder / "text" / f"{lang}.txt").write_text("\n".join(lines), encoding="utf-8")


def words_for(work, *words):
    text = ["data=files", f"data.root={work}/text", "region.recipe.languages=[es,ru,zh]"]
    milestones = ["job.milestones=[0,4]"] if any("+experiment=recovery" in word for word in words) else []
    flags = [word for word in words if word.startswith("-")]
    small = [word for word in SMALL if "model=hub" not in words or not word.startswith("model.")]
    return [*flags, *text, *small, *milestones, *(word for word in words if word not in flags)]


def environment():
    return {**os.environ, "WANDB_SILENT": "true"}  # threads, hub and display as tests/conftest.py sets them


def run_process(work, *words):
    """``python train.py`` in a process of its own."""
    command = [sys.executable, str(ROOT / "train.py"), *words_for(work, *words)]
    done = forked.run(command, timeout=300, cwd=work, env=environment())
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done


def run(work, *words, expect=0, plain=False, pictures=False):
    """``langcore`` in this process, for an import costs seconds: what it prints, and its exit status.

    ``plain``: with these words alone, without the small text and settings. ``pictures``: drawn, not one pixel each.
    """
    out, err, status = io.StringIO(), io.StringIO(), 0
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.chdir(work)
        if not pictures:
            patch.setattr(Figure, "savefig", write_pixel)
        patch.setattr(sys, "argv", ["langcore", *(words if plain else words_for(work, *words))])
        try:
            main.main()
        except SystemExit as end:
            status = end.code
            if isinstance(status, str):
                err.write(status)
                status = 1
    assert (status or 0) == expect, out.getvalue()[-2000:] + err.getvalue()[-4000:]
    return SimpleNamespace(stdout=out.getvalue(), stderr=err.getvalue())
