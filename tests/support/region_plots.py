"""Regions to be drawn."""

import numpy as np

Q, DOWN = "model.layers.{}.self_attn.q_proj.weight", "model.layers.{}.mlp.down_proj.weight"


def small(num_layers=2):
    """Shapes of a model, and a region: column 3 of each q, ten scattered weights of each down but the first's."""
    shapes, held = {}, {}
    for layer in range(num_layers):
        shapes |= {Q.format(layer): (20, 30), DOWN.format(layer): (30, 40)}
        held[Q.format(layer)] = np.arange(20, dtype=np.int32) * 30 + 3
        held[DOWN.format(layer)] = np.arange(10, dtype=np.int32) * 117
    del held[DOWN.format(0)]
    return shapes, held


def numbers(axes):
    """Text by (column, row) of its cell."""
    return {text.get_position(): text.get_text() for text in axes.texts}
