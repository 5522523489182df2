"""Absolute and relative change of weights against plain numpy."""

import numpy as np
import pytest
import torch

from lightning_langcore.regions import weight_change as changes
from lightning_langcore.regions.weight_change import absolute_change, rms, union_shares, weight_scale

RNG = np.random.default_rng(0)


def test_the_absolute_change_of_bfloat16_weights_is_computed_in_float32():
    base, end = torch.tensor([1.0, -2.0]).bfloat16(), torch.tensor([1.0078125, 2.0]).bfloat16()
    change = absolute_change(base, torch.nn.Parameter(end))
    assert change.dtype == torch.float32
    assert change.tolist() == [0.0078125, 4.0]


@pytest.mark.parametrize("chunk", [5, 1 << 20])
def test_change_and_scale_do_not_depend_on_the_chunks(monkeypatch, chunk):
    monkeypatch.setattr(changes, "CHUNK", chunk)
    monkeypatch.setattr(changes, "_DOUBLES", chunk)
    base, end = (torch.from_numpy(RNG.normal(0, 1, (7, 9)).astype(np.float32)) for _ in range(2))
    assert torch.equal(absolute_change(base, end.T.contiguous().T), (end - base).abs())
    np.testing.assert_allclose(
        weight_scale(base).numpy(), np.maximum(np.abs(base.numpy()), 1e-3 * np.sqrt(np.mean(base.numpy() ** 2)))
    )
    assert rms(base) == pytest.approx(float(np.sqrt(np.mean(base.double().numpy() ** 2))), rel=1e-12)
    assert rms(torch.empty(0)) == 0.0


def test_the_scale_has_a_floor_even_for_a_tensor_of_zeros():
    theta_0 = torch.tensor([0.0, 1e-9, -0.5, 3.0])
    floor = 1e-3 * np.sqrt((0.25 + 9.0) / 4)
    np.testing.assert_allclose(weight_scale(theta_0).numpy(), [floor, floor, 0.5, 3.0], rtol=1e-6)
    assert theta_0.tolist()[0] == 0.0
    of_zeros = weight_scale(torch.zeros(3))
    assert (of_zeros > 0).all()
    assert (of_zeros < 1e-30).all()


def test_the_union_table_by_hand():
    theta_0 = torch.full((1, 4), 2.0)
    largest = torch.tensor([[0.04, 0.04, 0.0, 0.12]])  # relative: 2 %, 2 %, 0, 6 %
    assert union_shares(weight_scale(theta_0), largest, (0.01, 0.03, 0.05, 0.07)) == [0.75, 0.25, 0.25, 0.0]
