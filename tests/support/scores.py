"""Scores with ties, zeros and infinities."""

import numpy as np


def scores_of(kind, size=2000):
    rng = np.random.default_rng(0)
    plain = rng.random(size, dtype=np.float32)
    kinds = {
        "distinct": rng.permutation(size).astype(np.float32) / 7,
        "many ties": rng.integers(0, 5, size).astype(np.float32),
        "all equal": np.full(size, 0.25, dtype=np.float32),
        "nine tenths zero": np.where(rng.random(size) < 0.9, 0, plain).astype(np.float32),
        "all magnitudes": (10.0 ** rng.uniform(-44, 38, size)).astype(np.float32),
        "zeros of both signs": np.where(rng.random(size) < 0.5, -0.0, plain).astype(np.float32),
        "with infinities": np.where(rng.random(size) < 0.2, np.inf, plain).astype(np.float32),
        "neighbours": np.nextafter(np.float32(1), np.float32(2), dtype=np.float32)
        + rng.integers(0, 9, size).astype(np.float32) * np.float32(2**-23),
        "one": plain[:1],
    }
    return kinds[kind]


NAME = "model.layers.0.mlp.up_proj.weight"
