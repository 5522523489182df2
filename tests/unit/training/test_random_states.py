"""Random states that are kept give the same numbers again, also after a checkpoint has held them."""

import io
import random

import numpy as np
import torch

from lightning_langcore.training import random_states

CPU = torch.device("cpu")


def numbers():
    return [random.random(), random.gauss(0, 1), np.random.random(), np.random.normal(), float(torch.randn(()))]  # noqa: NPY002


def test_restored_states_give_the_same_numbers():
    numbers()  # a normal number of NumPy and of Python leaves a second one for the next call
    file = io.BytesIO()
    torch.save(random_states.of_all_ranks(CPU), file)
    expected = [numbers() for _ in range(3)]
    file.seek(0)
    (kept,) = torch.load(file, weights_only=True)
    random_states.restore(kept, CPU)
    assert [numbers() for _ in range(3)] == expected


def test_the_state_of_the_ranks_own_gpu_is_kept(monkeypatch):
    states = {1: torch.tensor([7], dtype=torch.uint8)}
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: states[device.index])
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, device: states.update({device.index: state}))
    gpu = torch.device("cuda", 1)
    kept = random_states.collect(gpu)
    states[1] = torch.tensor([0], dtype=torch.uint8)
    random_states.restore(kept, CPU)
    assert states[1] == 0
    random_states.restore(kept, gpu)
    assert states[1] == 7
