"""Trainings with several switches, watched: checkpointing, chunked loss, compiled step."""

from functools import partial

import pytest
import torch
from functorch.compile import make_boxed_func, min_cut_rematerialization_partition
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy
from torch import distributed
from torch._dynamo.backends.common import aot_autograd

from lightning_langcore import ContinuedPretraining, CoreGuard
from lightning_langcore.metrics import chunked_cross_entropy
from lightning_langcore.metrics.chunked_cross_entropy import LossHead
from lightning_langcore.models import fsdp2, loading
from lightning_langcore.training.modules import SupervisedFineTuning
from tests.support.conversations import packed, with_documents
from tests.support.memory import Largest
from tests.support.models import VOCAB, random_half, tiny_llama
from tests.support.training import Plain, blocks, loader

ADAMW = partial(torch.optim.AdamW, lr=1e-3, weight_decay=0.1)
ROWS = 4  # of 16 tokens
STREAM = 4 * ROWS * 16 * 32  # bytes between two layers
LOGITS = ROWS * 16 * VOCAB  # twice as many as the weights of the head
BUCKET = 20_000  # bytes: two layers are several buckets, at whose ends DDP has the graph of a compiled step cut
FAR = {"32-true": 1e-3, "bf16-mixed": 0.1, "bf16-true": 0.1}  # share of the way that the weights went


class Graphs:
    """A compiler that counts: cuts into forward and backward as inductor does, then runs the graphs as they are."""

    def __init__(self):
        self.runs = self.saved = self.largest = 0
        self._whole = aot_autograd(
            fw_compiler=self._forward, bw_compiler=self._backward, partition_fn=min_cut_rematerialization_partition
        )

    def __call__(self, graph, inputs):
        return self._whole(graph, inputs)

    def traced(self, graph, inputs):
        """Without the cut, which takes seconds."""

        def run(*args):
            self.runs += 1
            return graph(*args)

        return run

    def _forward(self, graph, inputs):
        (end,) = graph.graph.find_nodes(op="output")
        made = [node for node in end.args[0] if isinstance(node, torch.fx.Node) and node.op != "placeholder"]
        self.saved += sum(map(num_bytes, made))

        def run(*args):
            self.runs += 1
            return graph(*args)

        return self._seen(graph, run)

    def _backward(self, graph, inputs):
        return self._seen(graph, graph)

    def _seen(self, graph, run):
        tensors = [node.meta["val"] for node in graph.graph.nodes if isinstance(node.meta.get("val"), torch.Tensor)]
        self.largest = max([self.largest, *(t.numel() for t in tensors if t.is_floating_point())])
        return make_boxed_func(run)


def num_bytes(node):
    value = node.meta.get("val")  # the state of the random numbers, uint8, has a length that is not known yet
    return value.nbytes if isinstance(value, torch.Tensor) and value.dtype != torch.uint8 else 0


def batches(sft, num_ranks=1):
    if not sft:
        return blocks(6 * num_ranks, rows=ROWS)
    lengths = [[7, 1, 5, 3], [16], [4, 9], [2, 14]]
    return [with_documents(packed(lengths, seed)[0]) for seed in range(6 * num_ranks)]


def train(case, base=None, num_ranks=1):
    """Three guarded steps of two micro-batches: what the switches did, and the weights at the start and the end."""
    graphs, largest, layers = Graphs(), [], []
    compiler = graphs if case.get("cut") else graphs.traced
    compile_, head = torch.compile, LossHead.__call__

    @torch.compiler.disable
    def watched(self, hidden):
        with Largest() as mode:
            total = head(self, hidden)
        largest.append(mode.numel)
        return total

    with pytest.MonkeyPatch.context() as patch:
        torch.compiler.reset()
        patch.setattr(torch, "compile", lambda f, **more: compile_(f, **({"backend": compiler} | more)))
        patch.setattr(chunked_cross_entropy, "_ROWS", 8)
        patch.setattr(LossHead, "__call__", watched)
        patch.setattr(distributed, "_DEFAULT_FIRST_BUCKET_BYTES", BUCKET)
        model = make_model(case, base)
        if not case.get("compile"):
            model.model.layers[1].mlp.register_forward_pre_hook(lambda *_: layers.append(torch.is_grad_enabled()))
        region = random_half(tiny_llama())
        start = {name: p.detach().clone() for name, p in tiny_llama().named_parameters()}
        kind = SupervisedFineTuning if case.get("sft") else ContinuedPretraining
        module = kind(model, ADAMW, chunked_loss=case.get("chunked", False), compile=case.get("compile", False))
        strategies = {
            "ddp": lambda: DDPStrategy(bucket_cap_mb=BUCKET / 2**20),
            "fsdp2": lambda: ModelParallelStrategy(num_ranks, 1),
        }
        more = {"strategy": strategies[case["strategy"]]()} if "strategy" in case else {}
        trainer = Trainer(**Plain(None, **(more | {
            "max_epochs": 1, "enable_checkpointing": False, "devices": num_ranks, "callbacks": [CoreGuard(region)],
            "precision": case.get("precision", "32-true"), "accumulate_grad_batches": 2, "gradient_clip_val": 1.0,
        })))  # fmt: skip
        trainer.fit(module, loader(batches(case.get("sft"), num_ranks)))
        torch.compiler.reset()
    told = {
        "runs": graphs.runs, "saved": graphs.saved, "layers": sum(layers), "in_graph": graphs.largest,
        "in_head": max(largest, default=0), "loss": float(trainer.callback_metrics["train/loss"]),
    }  # fmt: skip
    end = {
        name: (p.full_tensor() if case.get("strategy") == "fsdp2" else p).detach()
        for name, p in module.model.named_parameters()
    }
    return told, start, end


def make_model(case, base):
    """As a run makes it, which for FSDP2 begins without weights."""
    if base is None or case.get("strategy") != "fsdp2":
        model = tiny_llama()
        model.set_attn_implementation(case.get("attention", "sdpa"))
    else:
        model = fsdp2.empty_model(base, "float32", case.get("attention", "sdpa"))
    if case.get("checkpointing"):
        loading.checkpoint_activations(model)
    return model


def assert_same(plain, other, share):
    """Guarded bits as at the start; the rest as far from it as the plain run, but for a share of the way."""
    (told, start, end), (also, _, found) = plain, other
    assert also["loss"] == pytest.approx(told["loss"], rel=1e-5 if share < 0.01 else 0.02)
    for name, p in end.items():
        way = (p - start[name].to(p.dtype)).float().norm()
        assert (found[name] - p).float().norm() <= share * way + 1e-7, name
    for name, idx in random_half(tiny_llama()):
        kept = start[name].view(-1)[idx].to(found[name].dtype)
        assert torch.equal(found[name].view(-1)[idx], kept), name
        assert not torch.equal(found[name], start[name].to(found[name].dtype))


ALL = {"checkpointing": True, "chunked": True, "compile": True}


def assert_little(told):
    """A compiled step with all switches holds an input a layer and little else, and nothing as large as logits."""
    assert max(told["in_graph"], told["in_head"]) == VOCAB * 32 < LOGITS
    assert STREAM < told["saved"] < 5 * STREAM
