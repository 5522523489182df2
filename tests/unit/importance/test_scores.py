"""Scores against plain numpy, and Taylor against the released code's formula worked out by hand."""

import numpy as np
import pytest
import torch

from lightning_langcore.importance.scores import SCORES, RandomScores, Score, magnitude

RNG = np.random.default_rng(0)
THETA = RNG.normal(0, 0.02, (6, 4)).astype(np.float32)
STATISTIC = np.abs(RNG.normal(0, 1, (6, 4))).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("weight_change", STATISTIC),
        ("relative_change", STATISTIC / np.maximum(np.abs(THETA), 1e-3 * np.sqrt(np.mean(THETA**2)))),
        ("taylor", STATISTIC * np.abs(THETA)),
        ("taylor_per_batch", STATISTIC * np.abs(THETA)),
        ("fisher", STATISTIC),
        ("magnitude", np.abs(THETA)),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_formulas_equal_numpy_and_leave_their_inputs(name, expected, dtype):
    theta_0, statistic = torch.from_numpy(THETA.copy()).to(dtype), torch.from_numpy(STATISTIC.copy())
    before = theta_0.clone(), statistic.clone()
    score = SCORES[name](theta_0, None if name == "magnitude" else statistic)
    assert score.dtype == torch.float32
    np.testing.assert_allclose(score.numpy(), expected, rtol=1e-5 if dtype == torch.float32 else 1e-2)
    assert torch.equal(theta_0, before[0])
    assert torch.equal(statistic, before[1])


def test_wanda_multiplies_each_column_by_its_inputs_norm():
    norms = np.array([1.0, 2.0, 0.0, 3.0], dtype=np.float32)
    score = SCORES["wanda"](torch.from_numpy(THETA), torch.from_numpy(norms))
    np.testing.assert_allclose(score.numpy(), np.abs(THETA) * norms[None, :], rtol=1e-6)


def test_taylor_is_the_released_codes_formula_worked_by_hand():
    """|sum over batches of the gradient| x |weight|, added over languages: opposite batches of one language cancel."""
    weight = np.array([[2.0, -3.0]])
    gradients = {"zh": [[[1.0, 1.0]], [[-1.0, 2.0]]], "ar": [[[0.5, -1.0]], [[0.5, -1.0]]]}
    by_hand = [[2.0 * abs(1 - 1) + 2.0 * abs(0.5 + 0.5), 3.0 * abs(1 + 2) + 3.0 * abs(-1 - 1)]]
    assert by_hand == [[2.0, 15.0]]
    summed = sum(np.abs(np.sum(g, 0)) for g in gradients.values())  # what one reading adds up
    assert SCORES["taylor"](torch.tensor(weight), torch.from_numpy(summed)).tolist() == by_hand
    averaged = sum(np.mean(np.abs(g), 0) for g in gradients.values())
    without_cancelling = [[2.0 * (1 + 1) / 2 + 2.0 * 0.5, 3.0 * (1 + 2) / 2 + 3.0 * 1.0]]
    assert SCORES["taylor_per_batch"](torch.tensor(weight), torch.from_numpy(averaged)).tolist() == without_cancelling


def test_the_relative_change_of_a_tensor_of_zeros_is_finite():
    change = SCORES["relative_change"](torch.zeros(3), torch.tensor([0.0, 0.0, 1.0]))
    assert change[:2].tolist() == [0.0, 0.0]
    assert 1e30 < change[2] < torch.inf


def test_every_score_says_where_its_core_lies():
    ends = {name: score.core_end for name, score in SCORES.items()}
    assert {name for name, end in ends.items() if end == "lowest"} == {"weight_change", "relative_change"}
    assert set(ends.values()) == {"lowest", "highest"}


def test_a_score_that_can_not_be_is_refused():
    for arguments, message in (
        (("middle", "change", None, torch.mul), "core_end='middle' is none of lowest, highest"),
        (("highest", "hessian", None, torch.mul), "statistic='hessian' is none of change, gradient_sum"),
        (("highest", "change", magnitude, None), "needs combine with a statistic"),
        (("highest", None, None, None), "of_weights alone without one"),
    ):
        with pytest.raises(ValueError, match=message):
            Score(*arguments)


def test_random_scores_are_uniform_reproducible_and_independent_of_other_parameters():
    shapes = {"a": (200, 300), "b": (50,)}
    drawn = RandomScores(shapes, seed=3)
    assert (list(drawn), len(drawn), drawn["a"].shape) == (["a", "b"], 2, (200, 300))
    assert torch.equal(drawn["a"], RandomScores({"a": (200, 300)}, seed=3)["a"])
    assert not torch.equal(drawn["a"], RandomScores(shapes, seed=4)["a"])
    values = drawn["a"].numpy()
    assert 0 <= values.min() < values.max() < 1
    histogram = np.histogram(values, 20, (0, 1))[0]
    assert ((histogram - 3000) ** 2 / 3000).sum() < 19 + 4 * np.sqrt(38)
    assert abs(np.corrcoef(values[:, :-1].ravel(), values[:, 1:].ravel())[0, 1]) < 0.02
