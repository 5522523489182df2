"""Models whose files have other names or shapes than their memory, through the commands of a user."""

import pytest
import torch

from lightning_langcore import Region, Weights, candidates
from lightning_langcore.jobs.steps import checkpoints
from lightning_langcore.models import loading
from lightning_langcore.results.record import Results
from tests.support.architectures import small_model
from tests.support.commands import run, write_samples
from tests.support.configs import settings_of

LAYERS = {"mixtral": "model.layers.", "gemma3": "language_model.model.layers."}
SHORT = ["data.block_size=32", "region.recipe.tokens=1000", "region.fraction=0.2", "data.num_tokens=1000"]
SHORT += ["data.num_eval_tokens.test=100", "data.num_eval_tokens.validation=100"]


@pytest.mark.parametrize("name", LAYERS)
def test_a_core_is_located_and_kept_while_the_rest_recovers(tmp_path, tokenizer, name):
    write_samples(tmp_path)
    loading.save(small_model(name), tokenizer, tmp_path / "base")
    model = ["model=hub", "model.path=./base", *SHORT]
    run(
        tmp_path,
        "+experiment=locate_core",
        *model,
        "job.scores=[taylor]",
        "job.single_languages=false",
        "hydra.run.dir=located",
    )
    base = Weights(tmp_path / "base")
    core = Region.load(tmp_path / "located/core.safetensors")
    assert all(candidate.startswith(LAYERS[name]) for candidate in core.shapes)
    assert all(base.shapes[candidate] == shape for candidate, shape in core.shapes.items())
    assert core.fraction == pytest.approx(0.2, abs=0.01)
    assert Region.load(tmp_path / "located/taylor.safetensors").shapes == core.shapes
    words = ["+experiment=recovery_frozen", *model, "job.milestones=[0]", "job.save_model=true"]
    run(tmp_path, *words, "hydra.run.dir=recovered")
    results = Results.load(tmp_path / "recovered")
    assert results.guard == {"num_frozen": len(core), "max_abs_drift": 0.0}
    trained = Weights(tmp_path / "recovered/model")
    assert set(trained) == set(base)
    for parameter, idx in core:
        kept, before = trained[parameter].view(-1)[idx], base[parameter].view(-1)[idx]
        assert not torch.equal(kept, before), parameter  # perturbed, then kept
    folders = [f"job.base={tmp_path}/base", f"+job.trained={{zh: {tmp_path}/recovered/model}}"]
    settings = settings_of("+experiment=locate_core", "job.source=checkpoints", *folders)
    compared = checkpoints.compared(settings, settings.job)
    assert candidates(compared.start.shapes) == core.shapes
    name = next(iter(core.shapes))
    assert torch.equal(compared.known.statistic("zh", name, "change"), (trained[name] - base[name]).abs())
