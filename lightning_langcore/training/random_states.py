"""The states of the random generators of this process, in types that a checkpoint may hold (``weights_only``)."""

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.distributed as dist


def collect(device: torch.device) -> dict[str, Any]:
    """The states of Python's, NumPy's and torch's generators.

    Args:
        device: the device of this rank, whose generator is included if it is a GPU.

    Returns:
        ``python``, ``numpy``, ``torch`` and, on a GPU, ``cuda``; about 10 kB.
    """
    name, keys, *rest = np.random.get_state(legacy=True)  # noqa: NPY002 - the global generator is meant
    found: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": (name, torch.from_numpy(np.asarray(keys, dtype=np.int64)), *rest),
        "torch": torch.get_rng_state(),
    }
    if device.type == "cuda":
        found["cuda"] = torch.cuda.get_rng_state(device)
    return found


def restore(states: Mapping[str, Any], device: torch.device) -> None:
    """Set the generators to the states of :func:`collect`.

    Args:
        states: the states of one rank; on another kind of device the generator of the GPU stays as it is.
        device: the device of this rank.
    """
    version, inner, gauss = states["python"]
    random.setstate((version, tuple(inner), gauss))
    name, keys, *rest = states["numpy"]
    np.random.set_state((name, keys.cpu().numpy().astype(np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(states["torch"].cpu())
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"].cpu(), device)


def of_all_ranks(device: torch.device) -> list[dict[str, Any]]:
    """The states of all ranks, by rank. Collective: every rank must call it."""
    own = collect(device)
    if not (dist.is_available() and dist.is_initialized()):
        return [own]
    found: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(found, own)
    return found
