"""Activation checkpointing: the same gradients from less memory."""

from dataclasses import replace
from functools import partial

import lightning.pytorch as pl
import pytest
import torch
from transformers import LlamaForCausalLM

from lightning_langcore import ContinuedPretraining, CoreGuard, random_region
from lightning_langcore.models import loading
from lightning_langcore.models.parameters import candidates, match, named_shapes
from lightning_langcore.training.memory.footprint import (
    activation_bytes,
    layer_bytes,
)
from tests.support.models import tiny_llama
from tests.support.planning import saved_bytes, training
from tests.support.training import Plain, loader


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
