"""A compiled training step: the same losses, weights, frozen bits and names, packed rows kept apart."""

import shutil
from functools import partial

import pytest
import torch
from lightning.pytorch import Callback
from transformers import LlamaForCausalLM

from lightning_langcore import ContinuedPretraining, CoreGuard
from lightning_langcore.training.modules import SupervisedFineTuning
from tests.support.conversations import Losses, packed, with_documents
from tests.support.models import random_half, tiny_llama
from tests.support.training import blocks, fit

pytestmark = pytest.mark.slow  # a compiler traces for seconds, and each test has another training step

ADAMW = partial(torch.optim.AdamW, lr=1e-2, weight_decay=0.1)
SGD = partial(torch.optim.SGD, lr=0.1, momentum=0.9)


@pytest.fixture
def graphs(monkeypatch):
    """Traced as ever, but the graphs are run as they are, without a C++ compiler; lists the shapes of their inputs."""
    seen = []

    def backend(graph, inputs):
        def run(*args):
            seen.append({tuple(a.shape) for a in args if isinstance(a, torch.Tensor) and a.dtype == torch.int64})
            return graph(*args)

        return run

    torch.compiler.reset()
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    yield seen
    torch.compiler.reset()


def train(kind, batches, precision="32-true", **settings):
    """Losses, weights and the module after a fit with half of the weights guarded; checks that these stay."""
    model = tiny_llama(num_hidden_layers=1)
    start = {name: p.detach().clone() for name, p in model.named_parameters()}
    region = random_half(model)
    seen, module = Losses(), kind(model, SGD, **settings)
    fit(module, batches, [CoreGuard(region), seen], precision=precision)
    weights = {name: p.detach() for name, p in module.model.named_parameters()}
    assert list(weights) == list(start)
    assert not any("_orig_mod" in name for name in module.state_dict())
    for name, idx in region:
        assert torch.equal(weights[name].view(-1)[idx], start[name].to(weights[name].dtype).view(-1)[idx]), name
        assert not torch.equal(weights[name], start[name].to(weights[name].dtype))
    return seen.losses, weights, module


def talks(count=3):
    return [with_documents(packed(seed=seed)[0]) for seed in range(count)]


def assert_same(one, other, tolerance=1e-5):
    assert other[0] == pytest.approx(one[0], rel=tolerance)
    for name, p in one[1].items():
        assert torch.allclose(other[1][name], p, atol=tolerance), name
    assert torch.allclose(other[2].token_nats, one[2].token_nats, atol=10 * tolerance)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [ContinuedPretraining, SupervisedFineTuning])
@pytest.mark.parametrize("chunked", [False, True])
def test_three_guarded_steps_end_as_they_do_without(graphs, kind, chunked):
    batches = talks() if kind is SupervisedFineTuning else blocks(3)
    plain = train(kind, batches)
    assert not graphs
    assert_same(plain, train(kind, batches, compile=True, chunked_loss=chunked))
    rows = tuple(batches[0]["input_ids"].shape)
    assert len(graphs) >= 3
    assert sum(rows in shapes for shapes in graphs) >= 3


@pytest.mark.slow
def test_three_guarded_steps_of_packed_rows_end_as_they_do_without_when_really_compiled():
    torch.compiler.reset()
    plain = train(SupervisedFineTuning, talks())
    assert_same(plain, train(SupervisedFineTuning, talks(), compile=True, chunked_loss=True))
    assert torch._dynamo.utils.counters["inductor"], "nothing was compiled"


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bf16-true", "bf16-mixed"])
def test_half_precision_is_compiled_too(graphs, precision):
    plain = train(ContinuedPretraining, blocks(3), precision)
    assert_same(plain, train(ContinuedPretraining, blocks(3), precision, compile=True), 0.01)
    assert len(graphs) == 3


class Look(Callback):
    """Runs the model by itself in the middle of the training, on rows of another shape."""

    def __init__(self, graphs):
        self.graphs, self.counts = graphs, []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        before = len(self.graphs)
        pl_module(torch.zeros(1, 3 + batch_idx, dtype=torch.int64))
        pl_module.model(input_ids=torch.zeros(1, 9 + batch_idx, dtype=torch.int64))
        self.counts.append(len(self.graphs) - before)


def test_only_the_training_step_is_compiled(graphs):
    look = Look(graphs)
    module = ContinuedPretraining(tiny_llama(), ADAMW, compile=True)
    fit(module, blocks(3), [look])
    assert look.counts == [0, 0, 0]
    assert len(graphs) == 3
    module(torch.zeros(1, 16, dtype=torch.int64))
    assert len(graphs) == 3


class DeafWhenTraced(LlamaForCausalLM):
    """Heeds the ends of conversations, but not where it is compiled."""

    def forward(self, input_ids, position_ids=None, **more):
        mask = torch.ones_like(input_ids) if torch.compiler.is_compiling() else None
        return super().forward(input_ids, attention_mask=mask, position_ids=position_ids, **more)


def test_a_model_that_mixes_conversations_only_when_compiled_is_refused(graphs):
    model = DeafWhenTraced(tiny_llama().config)
    before = [p.detach().clone() for p in model.parameters()]
    fit(SupervisedFineTuning(model, partial(SGD, lr=0.0)), talks(1), [])
    with pytest.raises(ValueError, match=r"task=sft: DeafWhenTraced with task\.compile=true lets a conversation see"):
        fit(SupervisedFineTuning(model, SGD, compile=True), talks(1), [])
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))
    assert not graphs


def test_without_a_compiler_it_is_refused_before_the_first_step(monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(ValueError, match=r"task\.compile=true: there is no C\+\+ compiler \(g\+\+ or clang\+\+\) here"):
        fit(ContinuedPretraining(tiny_llama(), SGD, compile=True), blocks(1), [])
    monkeypatch.setenv("CXX", "my-compiler")
    with pytest.raises(ValueError, match=r"there is no C\+\+ compiler \(my-compiler\) here"):
        fit(ContinuedPretraining(tiny_llama(), SGD, compile=True), blocks(1), [])
    fit(ContinuedPretraining(tiny_llama(), SGD), blocks(1), [])
