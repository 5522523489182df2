"""What a command does not need is not imported: PyTorch takes seconds, Lightning more."""

import ast
import json
import subprocess
import sys

import pytest

from lightning_langcore import random_region
from lightning_langcore.results.record import Results
from tests.support.paths import ROOT

TRAINING = {"lightning.pytorch", "transformers", "hydra", "omegaconf", "datasets", "wandb", "torchmetrics"}
SCRIPT = """
import contextlib, io, json, sys
with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
    {}
print(json.dumps(sorted(sys.modules)))
"""
COMMAND = "from lightning_langcore.cli.main import main; sys.argv = ['langcore', {}]; main()"


def imported(code, folder):
    """The modules that a process has loaded after running ``code``."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(code)], cwd=folder, capture_output=True, text=True, check=True
    )
    return set(json.loads(done.stdout))


@pytest.mark.parametrize(
    ("code", "without"),
    [
        ("import lightning_langcore", {*TRAINING, "torch", "numpy", "matplotlib"}),
        ("from lightning_langcore import Region", {*TRAINING, "torch.distributed.tensor", "matplotlib"}),
        ("from lightning_langcore.data import PhrasebookSource", {*TRAINING, "torch"}),
        (COMMAND.format(""), {*TRAINING, "torch", "numpy", "matplotlib"}),
        (COMMAND.format("'--help'"), {*TRAINING, "torch", "numpy", "matplotlib"}),
        (
            COMMAND.format("'region', 'show', 'core.safetensors'"),
            {*TRAINING, "torch.distributed.tensor", "torch.distributed.fsdp", "matplotlib"},
        ),
        (COMMAND.format("'report', 'run'"), {*TRAINING, "torch"}),
        (
            "import lightning_langcore.cli.run, lightning_langcore.jobs.fit",
            {"datasets", "wandb", "bitsandbytes", "pandas"},
        ),
    ],
)
def test_heavy_modules_are_left_alone(tmp_path, code, without):
    if "region" in code:
        random_region({"model.layers.0.mlp.up_proj.weight": (8, 8)}, 0.5, 0).save(tmp_path / "core.safetensors")
    if "report" in code:
        run = Results(tmp_path / "run", experiment="x", seed=0, model={"name": "tiny"})
        run.write()
    assert not imported(code, tmp_path) & without


def test_every_public_name_is_there_and_nothing_else():
    import lightning_langcore

    assert set(lightning_langcore.__all__) <= set(dir(lightning_langcore))
    for name in lightning_langcore.__all__:
        assert getattr(lightning_langcore, name).__module__.startswith("lightning_langcore.")
    with pytest.raises(AttributeError, match="CoreGard"):
        _ = lightning_langcore.CoreGard


def test_the_top_level_package_has_the_callbacks_themselves_and_no_code():
    import callbacks
    import lightning_langcore.callbacks

    for name in callbacks.__all__:
        assert getattr(callbacks, name) is getattr(lightning_langcore.callbacks, name)
    kinds = {type(node) for node in ast.parse((ROOT / "callbacks" / "__init__.py").read_text(encoding="utf-8")).body}
    assert kinds <= {ast.Expr, ast.ImportFrom, ast.Assign}
