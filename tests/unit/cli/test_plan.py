"""``langcore plan`` and the check before a run: the table, the ways out, the refusals."""

import json

import pytest

from lightning_langcore.jobs.config import memory as planning
from lightning_langcore.training.memory.footprint import (
    Optimizer,
)
from lightning_langcore.training.memory.planner import GIB, plan
from tests.support.commands import run
from tests.support.configs import settings_of
from tests.support.planning import SGD, SHAPE, training


@pytest.fixture
def folder(tmp_path):
    """A config and no weights."""
    config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], **SHAPE}
    (tmp_path / "config.json").write_text(json.dumps(config))
    return tmp_path


def test_a_configuration_is_planned_as_it_would_run(folder):
    words = ["+experiment=recovery_frozen", "model=hub", f"model.path={folder}", "region.fraction=0.2"]
    planned = planning.training_of(settings_of(*words, "optimizer=adamw8bit", "data.batch_size=3", "trainer=ddp"))
    assert planned.model == training()[1].model
    assert planned.optimizer == Optimizer(2, min_8bit_size=4096)
    assert (planned.batch_size, planned.block_size, planned.width, planned.evaluates) == (3, 128, 4, True)
    assert planned.guard is not None
    assert planned.guard.fraction == 0.2
    assert (planned.strategy, planned.num_devices) == ("ddp", 2)
    for precision, expected in {
        "bf16-true": (2, False),
        "bf16-mixed": (4, True),
        "16-mixed": (4, True),
        "32": (4, False),
    }.items():
        planned = planning.training_of(settings_of(*words, f"trainer.precision={precision}", "optimizer=sgd"))
        assert (planned.width, planned.autocast) == expected
        assert planned.optimizer == SGD


def test_the_copy_of_the_start_is_planned_only_where_the_model_is_damaged():
    diff = ["callbacks=[default,weight_diff]"]
    assert not planning.training_of(settings_of(*diff)).copies_start
    assert planning.training_of(settings_of(*diff, "perturbation=reinit")).copies_start
    assert not planning.training_of(
        settings_of(*diff, "perturbation=reinit", "callbacks.weight_diff.reference=x")
    ).copies_start


def test_the_command_prints_a_table_and_fails_with_ways_out(tmp_path, folder):
    words = ["plan", "model=hub", f"model.path={folder}", "trainer=gpu"]
    fits = run(tmp_path, *words, "--memory", "80", plain=True)
    assert "optimizer states" in fits.stdout
    assert "8.000" in fits.stdout  # bytes a weight
    assert "80.000" in fits.stdout
    too_large = run(tmp_path, *words, "--memory", "0.01", plain=True, expect=1)
    assert "in all" in too_large.stdout
    (line,) = [line for line in too_large.stderr.splitlines() if line.startswith("error")]
    for way in (
        "model.activation_checkpointing=true", "task.chunked_loss=true", "optimizer=adamw8bit",
        "trainer.precision=bf16-true", "data.batch_size=1", "trainer=fsdp2 trainer.devices=2",
    ):  # fmt: skip
        assert way in line


def test_the_ways_out_are_a_prediction_that_holds(folder):
    """Each setting that the refusal names needs, when it is set, what the refusal said."""
    words = ["model=hub", f"model.path={folder}"]
    planned = planning.training_of(settings_of(*words))
    ways = planning.ways_out(planned)
    for way in ("model.activation_checkpointing=true", "trainer.precision=bf16-true", "optimizer=adamw8bit"):
        assert plan(planning.training_of(settings_of(*words, way))) == plan(ways[way])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["job=locate"], "job.name=locate: only trainings (job=fit) are planned"),
        (["optimizer.build._target_=torch.optim.NAdam", "~optimizer.build.fused"], "torch.optim.NAdam: only"),
        (["trainer.strategy=single_tpu"], "trainer.strategy=single_tpu: only one device, ddp and fsdp2 are planned"),
        (["trainer.strategy=fsdp"], "can't be frozen: use trainer=fsdp2"),
        (["trainer.strategy=deepspeed"], "can't be frozen: use trainer=fsdp2"),
        (["trainer=fsdp2", "optimizer=adamw8bit"], "does not support the shards of trainer=fsdp2: use optimizer=adamw"),
        (["trainer.precision=transformer-engine"], "trainer.precision=transformer-engine replaces the layers"),
        (["trainer.precision=16-mixed"], "trainer.precision=16-mixed needs a GPU"),
        (["data.batch_size=0"], "data.batch_size=0 must be a whole number of at least 1"),
        (["data.batch_size=abc"], "data.batch_size=abc must be a whole number of at least 1"),
        (["trainer.devices=0"], "trainer.devices=0 must be a whole number of at least 1"),
        (["region.fraction=0"], "region.fraction=0 must be a number in (0, 1]"),
        (["trainer=gpuu"], "Could not find 'trainer/gpuu' Available options in 'trainer': cpu ddp fsdp2 gpu"),
        (["model=hub", "model.path=nobody/has-this"], "model.path=nobody/has-this: can't read its config"),
        (["model=hub", "model.path=/nowhere"], "model.path=/nowhere: there is no such folder"),
        (["+experiment=nothing"], "experiment/nothing"),
        (["data.batch_size=1,2"], "data.batch_size"),
        (["callbacks=guarded", "region.parameters=['*.none']"], "no parameter of the model matches"),
    ],
)  # fmt: skip
def test_what_can_not_be_planned_is_one_sentence(tmp_path, words, told):
    said = run(tmp_path, "plan", *words, plain=True, expect=1).stderr.strip()
    assert told in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("size", ["-3", "0", "nan", "many"])
def test_a_memory_that_is_none_is_refused(tmp_path, size):
    assert "argument --memory: " in run(tmp_path, "plan", "--memory", size, plain=True, expect=2).stderr


def test_a_gpu_that_is_not_here_is_planned_for(tmp_path):
    words = ["trainer=gpu", "trainer.precision=16-mixed", "callbacks=[default,noise_sensitivity]", "--memory", "80"]
    assert "16-mixed" in run(tmp_path, "plan", *words, plain=True).stdout
    words = ["trainer=fsdp2", "trainer.accelerator=gpu", "trainer.devices=64", "--memory", "80"]
    assert "on each of 64 devices" in run(tmp_path, "plan", *words, plain=True).stdout


def test_a_quantized_model_is_not_planned(tmp_path, folder):
    config = json.loads((folder / "config.json").read_text())
    quantized = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    (folder / "config.json").write_text(json.dumps({**config, "quantization_config": quantized}))
    said = run(tmp_path, "plan", "model=hub", f"model.path={folder}", plain=True, expect=1).stderr
    assert "its weights are quantized" in said


def test_ways_out_that_are_none_are_not_offered():
    _, planned = training()
    needs = plan(planning.ways_out(planned)["all of these"]).num_bytes

    def told(memory, on_host):
        with pytest.raises(ValueError, match="the training needs") as caught:
            planning.refuse_too_large(planned, memory, on_host)
        return str(caught.value)

    assert "choose one or more of" in told(needs, on_host=False)
    assert "trainer=fsdp2 trainer.devices=2" in told(needs, on_host=False)
    assert "choose one or more of" in told(needs, on_host=True)
    assert "fsdp2" not in told(needs, on_host=True)  # two processes would share the one memory
    assert "none of these suffices: " in told(1, on_host=False)
    assert told(1, on_host=False).endswith("; choose a smaller model or more devices (trainer=fsdp2)")
    assert told(1, on_host=True).endswith("; choose a smaller model or a machine with more memory")


def test_a_run_that_can_not_fit_is_refused_before_it_begins(monkeypatch):
    settings = settings_of("callbacks=guarded")
    planning.check_fits(settings)
    need = plan(planning.training_of(settings)).num_bytes
    monkeypatch.setattr(planning, "device_memory", lambda _: need)
    planning.check_fits(settings)
    monkeypatch.setattr(planning, "device_memory", lambda _: need - 1)
    with pytest.raises(ValueError, match=r"the training needs about .* GiB, but there are .*: choose one or more of"):
        planning.check_fits(settings)
    planning.check_fits(settings_of("optimizer.build._target_=torch.optim.Adagrad"))  # may well run
    planning.check_fits(settings_of("job=locate"))
    monkeypatch.setattr(planning, "device_memory", lambda _: None)
    planning.check_fits(settings)


def test_locating_by_training_is_refused_where_it_can_not_fit(monkeypatch):
    settings = settings_of("job=locate")
    planning.check_locates(settings, mixed=False)
    num_weights = planning.model_of(settings).num_weights
    monkeypatch.setattr(planning, "device_memory", lambda _: 16 * num_weights)
    told = r"region.score=relative_change trains all weights .* needs about .* GiB, .*region.score=taylor.*checkpoints"
    with pytest.raises(ValueError, match=told):
        planning.check_locates(settings, mixed=False)
    monkeypatch.setattr(planning, "device_memory", lambda _: None)
    planning.check_locates(settings, mixed=True)


def test_processes_on_one_machine_share_its_memory():
    alone, shared = (planning.device_memory(settings_of("trainer=ddp", f"trainer.devices={n}")) for n in (1, 4))
    assert alone == pytest.approx(4 * shared)
    assert alone > GIB / 4
