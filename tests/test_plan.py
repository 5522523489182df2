"""Planned memory against what real steps hold, tensor by tensor; and activation checkpointing, which it plans.

``python tests/test_plan.py`` prints the table of docs/memory.md.
"""

import json
import math
import weakref
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import bitsandbytes as bnb
import lightning.pytorch as pl
import pytest
import torch
from cli_helpers import run
from helpers import Plain, loader, tiny_llama
from hydra import compose, initialize_config_module
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from transformers import LlamaConfig, LlamaForCausalLM

from lightning_langcore import ContinuedPretraining, CoreGuard, random_region
from lightning_langcore.jobs.config import memory as planning
from lightning_langcore.metrics.perplexity import TextLoss
from lightning_langcore.metrics.text_scorer import TextScorer
from lightning_langcore.models import loading
from lightning_langcore.models.parameters import candidates, match, named_shapes
from lightning_langcore.training.memory.footprint import (
    Guard,
    Model,
    Optimizer,
    Training,
    activation_bytes,
    cast_bytes,
    guard_bytes,
    layer_bytes,
    scoring_bytes,
    state_bytes,
)
from lightning_langcore.training.memory.planner import GIB, plan

ADAMW = Optimizer(2, has_counter=True)
SGD = Optimizer(1)
BUILD = {
    ADAMW: partial(torch.optim.AdamW, lr=1e-3, fused=True),
    SGD: partial(torch.optim.SGD, lr=1e-2, momentum=0.9),
}
SHAPE = {
    "hidden_size": 128, "intermediate_size": 344, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 2000, "max_position_embeddings": 256, "tie_word_embeddings": False,
}  # fmt: skip
SIZE = {"batch_size": 2, "block_size": 128}


class Held(TorchDispatchMode):
    """Bytes of all storages that operations have made and that still live; the most there were at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self._alive: dict[int, weakref.ref] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for tensor in tree_iter(made):
            if isinstance(tensor, torch.Tensor):
                self._add(tensor.untyped_storage())
        return made

    def _add(self, storage):
        key, size = storage._cdata, storage.nbytes()
        if key in self._alive or not size:
            return

        def gone(_):
            self.now -= size
            del self._alive[key]

        self._alive[key] = weakref.ref(storage, gone)
        self.now += size
        self.most = max(self.most, self.now)


def training(changes: dict[str, Any] | None = None, **more: Any) -> tuple[LlamaConfig, Training]:
    """A config and what is to be planned of it."""
    config = LlamaConfig(**(SHAPE | (changes or {})))
    config._attn_implementation = more.get("attention", "sdpa")
    model = planned_model(config)
    return config, Training(model, **({"optimizer": ADAMW, **SIZE} | more))


def planned_model(config: LlamaConfig) -> Model:
    """Shapes from a real model, not from the meta device."""
    c = config
    sizes = (c.num_hidden_layers, c.hidden_size, c.intermediate_size, c.num_attention_heads, c.num_key_value_heads)
    return Model(named_shapes(LlamaForCausalLM(config)), *sizes, c.head_dim, c.vocab_size)


def fit(config: LlamaConfig, planned: Training) -> tuple[int, pl.Trainer]:
    """Train four steps as planned: the most bytes that were held at once, and the trainer with all that is left."""
    accumulated = 2 if planned.accumulates else 1
    generator = torch.Generator().manual_seed(0)
    shape = (4 * accumulated, planned.batch_size, planned.block_size + 1)
    tokens = torch.randint(0, config.vocab_size, shape, generator=generator)
    precision = "bf16-mixed" if planned.autocast else "bf16-true" if planned.width == 2 else "32-true"
    callbacks = []
    with Held() as held:
        model = LlamaForCausalLM(config).train()
        if planned.checkpointing:
            loading.checkpoint_activations(model)
        if planned.guard is not None:
            callbacks = [CoreGuard(random_region(planned.guard.candidates, planned.guard.fraction, seed=0))]
        module = ContinuedPretraining(model, BUILD[planned.optimizer], chunked_loss=planned.chunked_loss)
        if planned.width == 2:
            module = module.bfloat16()  # else the float32 weights that are made first would count
        held.most = held.now
        trainer = pl.Trainer(
            **Plain(None, max_epochs=1, enable_checkpointing=False, accumulate_grad_batches=accumulated),
            precision=precision,
            callbacks=callbacks,
        )
        trainer.fit(module, loader([{"input_ids": t[:, :-1], "shift_labels": t[:, 1:]} for t in tokens]))
    return held.most, trainer


CASES = {
    "float32, AdamW": {},
    "float32, AdamW, checkpointing": {"checkpointing": True},
    "float32, SGD": {"optimizer": SGD},
    "float32, AdamW, accumulating": {"accumulates": True},
    "float32, AdamW, eager": {"attention": "eager"},
    "bf16-true, AdamW": {"width": 2},
    "bf16-true, SGD, checkpointing": {"width": 2, "optimizer": SGD, "checkpointing": True},
    "bf16-mixed, AdamW": {"autocast": True},
    "bf16-mixed, AdamW, checkpointing": {"autocast": True, "checkpointing": True},
    "float32, AdamW, chunked loss": {"chunked_loss": True, "batch_size": 8},
    "bf16-true, AdamW, checkpointing, chunked loss": {
        "width": 2, "checkpointing": True, "chunked_loss": True, "batch_size": 8,
    },
    "bf16-mixed, SGD, checkpointing, chunked loss": {
        "autocast": True, "optimizer": SGD, "checkpointing": True, "chunked_loss": True, "batch_size": 8,
    },
    "bf16-mixed, AdamW, accumulating, eager, checkpointing, chunked loss": {
        "autocast": True, "accumulates": True, "attention": "eager", "checkpointing": True, "chunked_loss": True,
    },
    "float32, AdamW, checkpointing, small vocabulary": {"checkpointing": True, "vocab_size": 100},
    "float32, AdamW, many tokens": {"batch_size": 32, "vocab_size": 100},
    "bf16-true, AdamW, many tokens": {"width": 2, "batch_size": 32, "vocab_size": 100},
    "bf16-mixed, AdamW, checkpointing, many tokens": {
        "autocast": True, "checkpointing": True, "batch_size": 32, "vocab_size": 100,
    },
}  # fmt: skip


def case(name: str) -> tuple[LlamaConfig, Training]:
    settings = dict(CASES[name])
    changes = {"vocab_size": settings.pop("vocab_size")} if "vocab_size" in settings else {}
    return training(changes, **settings)


@pytest.mark.parametrize("name", CASES)
def test_the_largest_moment_of_a_real_training_is_as_planned(name):
    config, planned = case(name)
    measured, _ = fit(config, planned)
    most = 1.08 if "many tokens" in name else 1.03  # where activations outweigh all else
    assert 0.97 < plan(planned).num_bytes / measured < most


def live(trainer: pl.Trainer) -> tuple[int, int, int]:
    """Bytes of the parameters, of their gradients, and of distinct optimizer states."""
    parameters = list(trainer.lightning_module.parameters())
    states = {
        value.untyped_storage()._cdata: value.untyped_storage().nbytes()
        for state in trainer.optimizers[0].state.values()
        for value in state.values()
        if isinstance(value, torch.Tensor)
    }
    return sum(p.nbytes for p in parameters), sum(p.grad.nbytes for p in parameters), sum(states.values())


@pytest.mark.parametrize("name", ["float32, AdamW", "bf16-true, AdamW", "bf16-mixed, AdamW", "float32, SGD"])
def test_parameters_gradients_and_states_are_as_planned_to_the_byte(name):
    config, planned = case(name)
    weights, gradients, states = live(fit(config, planned)[1])
    told = plan(planned).device
    assert (told["weights"], told["gradients"], told["optimizer states"]) == (weights, gradients, states)


@pytest.mark.parametrize("width", [4, 2])
def test_the_states_of_bitsandbytes_are_as_planned_to_the_byte(width):
    config, planned = training({"num_hidden_layers": 1}, width=width, optimizer=Optimizer(2, min_8bit_size=4096))
    model = LlamaForCausalLM(config).to(torch.float32 if width == 4 else torch.bfloat16)
    optimizer = bnb.optim.AdamW8bit(model.parameters())
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    kept = {
        value.untyped_storage()._cdata: value.nbytes
        for state in optimizer.state.values()
        for value in state.values()
        if isinstance(value, torch.Tensor)
    }
    assert state_bytes(planned) == sum(kept.values())
    assert {v.dtype for s in optimizer.state.values() for v in s.values() if isinstance(v, torch.Tensor)} == {
        torch.uint8,
        torch.float32,
    }


@pytest.mark.parametrize("granularity", ["element", "row", "column"])
@pytest.mark.parametrize("fraction", [0.02, 0.1, 0.4])
@pytest.mark.parametrize("width", [4, 2])
def test_a_guard_holds_what_is_planned(granularity, fraction, width):
    config, planned = training({"num_hidden_layers": 1}, width=width)
    model = LlamaForCausalLM(config).to(torch.float32 if width == 4 else torch.bfloat16)
    among = candidates(named_shapes(model))
    guard = CoreGuard(random_region(among, fraction, 0, granularity))
    trainer = pl.Trainer(**Plain(None, max_steps=1, enable_checkpointing=False), callbacks=[guard])
    batch = {"input_ids": torch.ones(1, 4, dtype=torch.int64), "shift_labels": torch.ones(1, 4, dtype=torch.int64)}
    trainer.fit(ContinuedPretraining(model, BUILD[SGD]), loader([batch]))
    held = sum(part.data.nbytes + values.nbytes for _, part, values in guard._guarded)
    assert guard_bytes(replace(planned, guard=Guard(among, fraction, granularity))) == held


def saved_bytes(config: LlamaConfig, planned: Training) -> int:
    """Bytes of the distinct storages that the model's forward pass saves for backward, its own weights apart."""
    model = LlamaForCausalLM(config).to(torch.bfloat16 if planned.width == 2 else torch.float32).train()
    if planned.checkpointing:
        loading.checkpoint_activations(model)
    own = {t.untyped_storage()._cdata for t in (*model.parameters(), *model.buffers())}
    saved = {}

    def pack(tensor):
        saved[tensor.untyped_storage()._cdata] = tensor.untyped_storage()
        return tensor

    ids = torch.randint(0, config.vocab_size, (planned.batch_size, planned.block_size))
    half = torch.arange(planned.block_size // 2).repeat(2).expand_as(ids)
    more = {"position_ids": half} if planned.masked else {}
    cast = torch.autocast("cpu", torch.bfloat16, cache_enabled=False) if planned.autocast else nullcontext()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), cast:
        model(input_ids=ids, use_cache=False, **more)
    return sum(storage.nbytes() for key, storage in saved.items() if key not in own)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize(
    "precision", [{}, {"width": 2}, {"autocast": True}], ids=["32-true", "bf16-true", "bf16-mixed"]
)
def test_activations_are_as_planned(attention, masked, checkpointing, precision):
    config, planned = training(attention=attention, masked=masked, checkpointing=checkpointing, **precision)
    head, layers, _ = cast_bytes(planned)
    assert activation_bytes(planned) + head + layers == pytest.approx(saved_bytes(config, planned), rel=0.05)


SCORED = {
    "a wide layer": {"intermediate_size": 2000},
    "attention": {"hidden_size": 256, "intermediate_size": 100},
    "the head": {"vocab_size": 20000},
    "all logits": {"vocab_size": 20000},
}


@pytest.mark.parametrize("what", SCORED)
@pytest.mark.parametrize(
    "precision", [{}, {"width": 2}, {"autocast": True}], ids=["32-true", "bf16-true", "bf16-mixed"]
)
def test_scoring_a_batch_holds_what_is_planned(what, precision):
    config, planned = training(SCORED[what], **precision)
    planned = replace(planned, model=replace(planned.model, changes_logits=what == "all logits"))
    ids = torch.randint(0, config.vocab_size, (4096 // planned.block_size, planned.block_size))
    batch = {"input_ids": ids, "shift_labels": ids}
    cast = torch.autocast("cpu", torch.bfloat16, enabled=planned.autocast)
    with Held() as held, torch.no_grad(), cast:
        model = LlamaForCausalLM(config).to(torch.bfloat16 if planned.width == 2 else torch.float32).eval()
        score = TextScorer(model, model)
        score(TextLoss(), {name: tensor[:1] for name, tensor in batch.items()})
        if planned.model.changes_logits:
            score._head = None
        before = held.most = held.now
        score(TextLoss(), batch)
    assert scoring_bytes(planned) == pytest.approx(held.most - before, rel=0.1)


def test_seven_billion_weights_by_hand():
    """LLaMA 2 7B: the figures of its paper, of the arithmetic of DeepSpeed's (16 bytes a weight), and of the guard."""
    fields = {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32}
    shapes = named_shapes(loading.model_without_weights(LlamaConfig(**fields, vocab_size=32000)))
    model = Model(shapes, 32, 4096, 11008, 32, 32, 128, 32000)
    assert model.num_weights == 6_738_415_616
    full = Training(model, ADAMW, batch_size=1, block_size=2048, guard=Guard(candidates(shapes), 0.01))
    held = plan(full).device
    assert sum(held[what] for what in ("weights", "gradients", "optimizer states")) == 16 * model.num_weights + 4 * 291
    assert held["guard"] == pytest.approx(0.01 * 6_476_005_376 * (4 + 4), rel=1e-3)
    lean = replace(full, width=2, optimizer=Optimizer(2, min_8bit_size=4096), checkpointing=True)
    assert activation_bytes(lean) < activation_bytes(full) / 20
    assert state_bytes(lean) == pytest.approx(2 * model.num_weights * (1 + 4 / 256), rel=1e-4)


def test_what_fsdp2_divides_and_what_ddp_repeats():
    _, one = training()
    ddp, shared = replace(one, strategy="ddp", num_devices=4), replace(one, strategy="fsdp2", num_devices=4)
    num_bytes = 4 * one.model.num_weights
    assert plan(ddp).device["gradient buckets"] == plan(ddp).device["weights"] == num_bytes
    assert "gradient buckets" not in plan(replace(ddp, bucket_views=True)).device
    assert plan(shared).device["weights"] == num_bytes / 4  # all lengths are multiples of four
    assert plan(shared).device["optimizer states"] == pytest.approx(2 * num_bytes / 4, rel=1e-3)
    layer = sum(math.prod(s) for name, s in one.model.shapes.items() if ".layers.0." in name)
    assert plan(shared).device["gathered layers"] == 4 * (2 * 2000 * 128 + 128 + 3 * layer)
    three = replace(shared, num_devices=3)  # the first of three holds 43 of 128 rows
    rows = sum(4 * math.ceil(s[0] / 3) * math.prod(s[1:]) for s in one.model.shapes.values())
    assert plan(three).device["weights"] == rows > num_bytes / 3


def test_paged_states_and_the_start_of_a_damaged_model_lie_on_the_host():
    _, planned = training(optimizer=Optimizer(2, min_8bit_size=4096, paged=True), copies_start=True)
    told = plan(planned)
    assert "optimizer states" not in told.device
    assert told.host == {
        "start of WeightDiff": 4 * planned.model.num_weights,
        "paged optimizer states": state_bytes(planned),
    }


def checkpointed(seed: int = 0) -> LlamaForCausalLM:
    model = tiny_llama(seed)
    loading.checkpoint_activations(model)
    return model


def test_checkpointing_changes_neither_gradients_nor_names_and_runs_each_layer_twice():
    ids = torch.randint(0, 300, (2, 16))
    gradients, calls = [], []
    for model in (tiny_llama(), checkpointed()):
        began = []
        # the second run ends as soon as it has all it needs, so it is its beginning that counts
        model.model.layers[1].mlp.register_forward_pre_hook(lambda *_, began=began: began.append(1))
        model(input_ids=ids, labels=ids, use_cache=False).loss.backward()
        gradients.append({name: p.grad for name, p in model.named_parameters()})
        calls.append(len(began))
    assert calls == [1, 2]
    assert gradients[0].keys() == gradients[1].keys()
    assert all(torch.equal(gradients[0][name], gradients[1][name]) for name in gradients[0])
    assert match(checkpointed(), named_shapes(tiny_llama())).keys() == named_shapes(tiny_llama()).keys()


def test_checkpointing_saves_memory():
    config, planned = training()
    assert saved_bytes(config, replace(planned, checkpointing=True)) < 0.3 * saved_bytes(config, planned)
    assert layer_bytes(planned) * 3 < activation_bytes(planned)


def test_a_guard_is_exact_with_checkpointing_and_training_is_the_same():
    ends = []
    region = random_region(candidates(named_shapes(tiny_llama())), 0.3, 0)
    for model in (tiny_llama(), checkpointed()):
        start = {name: p.detach().clone() for name, p in model.named_parameters()}
        guard = CoreGuard(region)
        trainer = pl.Trainer(**Plain(None, max_epochs=1, enable_checkpointing=False), callbacks=[guard])
        tokens = torch.randint(0, 300, (6, 2, 17), generator=torch.Generator().manual_seed(0))
        batches = [{"input_ids": t[:, :-1], "shift_labels": t[:, 1:]} for t in tokens]
        trainer.fit(ContinuedPretraining(model, partial(torch.optim.AdamW, lr=1e-2, weight_decay=0.1)), loader(batches))
        ends.append(dict(model.named_parameters()))
        for name, indices in region:
            kept, now = start[name].view(-1)[indices], ends[-1][name].detach().view(-1)[indices]
            assert torch.equal(kept, now)
        assert not torch.equal(start["lm_head.weight"], ends[-1]["lm_head.weight"])
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_a_model_that_can_not_checkpoint_is_refused():
    model = tiny_llama()
    model.supports_gradient_checkpointing = False
    with pytest.raises(ValueError, match=r"model\.activation_checkpointing=true: LlamaForCausalLM does not support it"):
        loading.checkpoint_activations(model)


def composed(*words: str):
    with initialize_config_module("lightning_langcore.conf", version_base="1.3"):
        return compose("train", overrides=list(words))


@pytest.fixture
def folder(tmp_path):
    """A config and no weights."""
    config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], **SHAPE}
    (tmp_path / "config.json").write_text(json.dumps(config))
    return tmp_path


def test_a_configuration_is_planned_as_it_would_run(folder):
    words = ["+experiment=recovery_frozen", "model=hub", f"model.path={folder}", "region.fraction=0.2"]
    planned = planning.training_of(composed(*words, "optimizer=adamw8bit", "data.batch_size=3", "trainer=ddp"))
    assert planned.model == training()[1].model
    assert planned.optimizer == Optimizer(2, min_8bit_size=4096)
    assert (planned.batch_size, planned.block_size, planned.width, planned.scores) == (3, 128, 4, True)
    assert planned.guard is not None
    assert planned.guard.fraction == 0.2
    assert (planned.strategy, planned.num_devices) == ("ddp", 2)
    for precision, expected in {
        "bf16-true": (2, False),
        "bf16-mixed": (4, True),
        "16-mixed": (4, True),
        "32": (4, False),
    }.items():
        planned = planning.training_of(composed(*words, f"trainer.precision={precision}", "optimizer=sgd"))
        assert (planned.width, planned.autocast) == expected
        assert planned.optimizer == SGD


def test_the_copy_of_the_start_is_planned_only_where_the_model_is_damaged():
    diff = ["callbacks=[default,weight_diff]"]
    assert not planning.training_of(composed(*diff)).copies_start
    assert planning.training_of(composed(*diff, "perturbation=reinit")).copies_start
    assert not planning.training_of(
        composed(*diff, "perturbation=reinit", "callbacks.weight_diff.reference=x")
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
    planned = planning.training_of(composed(*words))
    ways = planning.ways_out(planned)
    for way in ("model.activation_checkpointing=true", "trainer.precision=bf16-true", "optimizer=adamw8bit"):
        assert plan(planning.training_of(composed(*words, way))) == plan(ways[way])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["job=locate"], "job.name=locate: only trainings (job=fit) are planned"),
        (["optimizer.build._target_=torch.optim.NAdam", "~optimizer.build.fused"], "torch.optim.NAdam: only"),
        (["trainer.strategy=single_tpu"], "trainer.strategy=single_tpu: only one device, ddp and fsdp2 are planned"),
        (["trainer.strategy=fsdp"], "can't be kept: use trainer=fsdp2"),
        (["trainer.strategy=deepspeed"], "can't be kept: use trainer=fsdp2"),
        (["trainer=fsdp2", "optimizer=adamw8bit"], "can't step the shards of trainer=fsdp2: use optimizer=adamw"),
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
    cfg = composed("callbacks=guarded")
    planning.check_fits(cfg)
    need = plan(planning.training_of(cfg)).num_bytes
    monkeypatch.setattr(planning, "device_memory", lambda _: need)
    planning.check_fits(cfg)
    monkeypatch.setattr(planning, "device_memory", lambda _: need - 1)
    with pytest.raises(ValueError, match=r"the training needs about .* GiB, but there are .*: choose one or more of"):
        planning.check_fits(cfg)
    planning.check_fits(composed("optimizer.build._target_=torch.optim.Adagrad"))  # may well run
    planning.check_fits(composed("job=locate"))
    monkeypatch.setattr(planning, "device_memory", lambda _: None)
    planning.check_fits(cfg)


def test_locating_by_training_is_refused_where_it_can_not_fit(monkeypatch):
    cfg = composed("job=locate")
    planning.check_locates(cfg, mixed=False)
    num_weights = planning.model_of(cfg).num_weights
    monkeypatch.setattr(planning, "device_memory", lambda _: 16 * num_weights)
    told = r"region.score=relative_change trains all weights .* needs about .* GiB, .*region.score=taylor.*checkpoints"
    with pytest.raises(ValueError, match=told):
        planning.check_locates(cfg, mixed=False)
    monkeypatch.setattr(planning, "device_memory", lambda _: None)
    planning.check_locates(cfg, mixed=True)


def test_processes_on_one_machine_share_its_memory():
    alone, shared = (planning.device_memory(composed("trainer=ddp", f"trainer.devices={n}")) for n in (1, 4))
    assert alone == pytest.approx(4 * shared)
    assert alone > GIB / 4


def table() -> str:
    lines = ["| training | planned, MiB | measured, MiB | planned / measured |", "|---|---|---|---|"]
    for name in CASES:
        config, planned = case(name)
        measured, expected = fit(config, planned)[0], plan(planned).num_bytes
        lines.append(f"| {name} | {expected / 2**20:.2f} | {measured / 2**20:.2f} | {expected / measured:.3f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(table())  # noqa: T201
