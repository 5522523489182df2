"""Statistics of weights against plain loops, arithmetic by hand and numpy.

Whatever the groups, the results are bit-equal on the CPU with one thread.
"""

import json
import math
from functools import partial

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch.nn import functional as F

from lightning_langcore.importance.recording import GRADIENTS, STATISTICS, record
from lightning_langcore.models.parameters import candidates, named_shapes
from tests.support.models import tiny_llama
from tests.support.recordings import FIRST, PLENTY, recorded, uneven
from tests.support.training import blocks


def mean_loss(model, ids, labels):
    return F.cross_entropy(model(input_ids=ids).logits.float().flatten(0, 1), labels.flatten(), ignore_index=-100)


def reference(model, batches, names):
    """Gradients by torch.autograd.grad on whole batches and on single rows, added up in float64 by numpy."""
    model.eval()
    parameters = dict(model.named_parameters())

    def gradients(ids, labels):
        found = torch.autograd.grad(mean_loss(model, ids, labels), [parameters[name] for name in names])
        return [g.double().numpy() for g in found]

    scored = [b for b in batches if (b["shift_labels"] != -100).any()]
    by_batch = [gradients(b["input_ids"], b["shift_labels"]) for b in scored]
    rows = [(i[None], s[None]) for b in scored for i, s in zip(b["input_ids"], b["shift_labels"], strict=True)]
    by_row = [gradients(*row) for row in rows if (row[1] != -100).any()]
    found = {}
    for n, name in enumerate(names):
        batch, row = np.stack([g[n] for g in by_batch]), np.stack([g[n] for g in by_row])
        found[f"{name}|gradient_sum"] = np.abs(batch.sum(0))
        found[f"{name}|gradient_abs"] = np.abs(batch).mean(0)
        found[f"{name}|gradient_square"] = (row**2).mean(0)
        found[f"{name}|square_of_batches"] = (batch**2).mean(0)
    return found


def assert_close(found, wanted, rtol=2e-4):
    for key in found:
        if not key.endswith("|input_norm"):
            scale = wanted[key].max()
            np.testing.assert_allclose(found[key].numpy(), wanted[key], rtol=rtol, atol=rtol * scale, err_msg=key)


class TwoInputs(torch.nn.Module):
    """Two tokens with inputs (1, 0) and (1, 2); the logits are linear in them."""

    def __init__(self, weight=((1.0986123, 0.0), (0.0, 0.0))):
        super().__init__()
        self.register_buffer("inputs", torch.tensor([[1.0, 0.0], [1.0, 2.0]]))
        self.head = torch.nn.Linear(2, 2, bias=False)
        self.head.weight.data = torch.tensor(weight)

    def forward(self, input_ids):
        return self.head(self.inputs[input_ids])


def text(ids, labels):
    return {"input_ids": torch.tensor(ids), "shift_labels": torch.tensor(labels)}


def test_a_case_worked_out_by_hand(tmp_path):
    """Both tokens have logits (ln 3, 0), hence p = (3/4, 1/4), and the gradient of a token is (p - e_label) x^T.

    Token 0, label 1: (3/4, -3/4) (1, 0)^T. Token 1, label 0: (-1/4, 1/4) (1, 2)^T. Token 1, label 1:
    (3/4, -3/4) (1, 2)^T. The second row below has one scored token, the first two.
    """
    batches = [text([[0, 1], [1, 0]], [[1, 0], [1, -100]]), text([[1]], [[0]])]
    found = recorded(tmp_path, TwoInputs(), batches, shapes={"head.weight": (2, 2)})
    row_1 = np.array([[0.75, 0.0], [-0.75, 0.0]]) / 2 + np.array([[-0.25, -0.5], [0.25, 0.5]]) / 2
    row_2 = np.array([[0.75, 1.5], [-0.75, -1.5]])
    batch_1 = np.array([[1.25, 1.0], [-1.25, -1.0]]) / 3
    assert np.allclose((2 * row_1 + row_2) / 3, batch_1)
    batch_2 = np.array([[-0.25, -0.5], [0.25, 0.5]])
    expected = {
        "gradient_sum": [[1 / 6, 1 / 6], [1 / 6, 1 / 6]],
        "gradient_abs": [[1 / 3, 5 / 12], [1 / 3, 5 / 12]],
        "gradient_square": (row_1**2 + row_2**2 + batch_2**2) / 3,
        "input_norm": [1.0, math.sqrt((0 + 4 + 4 + 4) / 4)],
    }
    assert np.allclose(np.abs(batch_1 + batch_2), 1 / 6)
    for statistic in STATISTICS:
        np.testing.assert_allclose(found[f"head.weight|{statistic}"].numpy(), expected[statistic], rtol=1e-6)


@pytest.mark.parametrize("statistics", [[s] for s in GRADIENTS] + [["gradient_sum", "gradient_abs"], STATISTICS])
def test_gradients_equal_a_plain_loop(tmp_path, llama, statistics):
    batches = uneven()
    names = list(candidates(named_shapes(llama)))
    wanted = reference(tiny_llama(), batches, names)
    for name in names:
        squares = wanted[f"{name}|gradient_square"].mean()
        assert squares > 1.5 * wanted[f"{name}|square_of_batches"].mean(), "the text can't tell the two apart"
    found = recorded(tmp_path, llama, batches, statistics)
    assert list(found) == [f"{name}|{s}" for name in names for s in statistics]
    assert {t.dtype for t in found.values()} == {torch.float32}
    assert_close(found, wanted)


def test_parameters_whose_gradients_share_memory_do_not_disturb_each_other(tmp_path):
    class Sum(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.row, self.column = torch.nn.Parameter(torch.zeros(1, 2)), torch.nn.Parameter(torch.zeros(2, 1))

        def forward(self, input_ids):
            return (self.row.view(-1) + self.column.view(-1)).expand(*input_ids.shape, 2)

    batches = [text([[0]], [[0]]), text([[0]], [[1]])]  # gradients (-1/2, 1/2) and (1/2, -1/2)
    found = recorded(tmp_path, Sum(), batches, ["gradient_sum", "gradient_abs"], {"row": (1, 2), "column": (2, 1)})
    for name in ("row", "column"):
        assert found[f"{name}|gradient_sum"].flatten().tolist() == [0.0, 0.0]
        assert found[f"{name}|gradient_abs"].flatten().tolist() == [0.5, 0.5]


def test_the_header_tells_what_was_recorded(tmp_path, llama):
    record(llama, uneven(), candidates(named_shapes(llama)), {"input_norm", "gradient_sum"}, tmp_path / "s", PLENTY)
    with safe_open(tmp_path / "s", framework="pt") as file:
        about = json.loads(file.metadata()["langcore_statistics"])
    assert isinstance(about.pop("digest"), int)
    num_tokens = 3 * (16 + 6 + 9) - 6
    expected = {"num_batches": 3, "num_samples": 8, "num_tokens": num_tokens}
    assert about == {"statistics": ["gradient_sum", "input_norm"], **expected}


@pytest.mark.parametrize("statistics", [["input_norm"], ["input_norm", "gradient_abs"], STATISTICS])
def test_the_input_norm_equals_numpy_and_takes_no_pass_of_its_own(tmp_path, llama, statistics):
    batches, columns, calls = uneven(), {}, []
    model = tiny_llama().eval()
    for name, module in model.named_modules():
        if f"{name}.weight" in candidates(named_shapes(model)):
            columns[f"{name}.weight"] = []
            module.register_forward_hook(
                lambda _, args, __, kept=columns[f"{name}.weight"]: kept.append(args[0].detach().numpy())
            )
    for batch in batches:
        for ids, labels in zip(batch["input_ids"], batch["shift_labels"], strict=True):
            text_end = max([t + 1 for t, label in enumerate(labels.tolist()) if label != -100], default=0)
            if text_end:
                model(input_ids=ids[None, :text_end])
    llama.register_forward_pre_hook(lambda *_: calls.append(torch.is_grad_enabled()))
    found = recorded(tmp_path, llama, batches, statistics)
    for name, kept in columns.items():
        tokens = np.concatenate([x[0] for x in kept]).astype(np.float64)
        np.testing.assert_allclose(found[f"{name}|input_norm"].numpy(), np.sqrt((tokens**2).mean(0)), rtol=1e-4)
    assert calls == [statistics != ["input_norm"]] * (8 if "gradient_square" in statistics else 3)


def test_the_squares_of_bfloat16_inputs_are_added_up_precisely(tmp_path):
    """1 and 8192 small squares, which bfloat16 can't hold: a sum in bfloat16 would stay at 1."""
    model = TwoInputs().bfloat16()
    model.inputs[:] = torch.tensor([[1.0, 1.0], [(1 + 1 / 128) / 64, 0.0]])
    ids = torch.ones(2, 4096, dtype=torch.int64)
    batches = [text([[0]], [[0]]), {"input_ids": ids, "shift_labels": ids}]
    found = recorded(tmp_path, model, batches, ["input_norm"], {"head.weight": (2, 2)})
    expected = [math.sqrt((1 + 2 * (1 + 1 / 128) ** 2) / 8193), math.sqrt(1 / 8193)]
    np.testing.assert_allclose(found["head.weight|input_norm"].numpy(), expected, rtol=1e-6)


def test_bfloat16_weights_have_float32_sums(tmp_path):
    """Gradients of +1/2, of which each is 1/256 of what has been added up before, would vanish in bfloat16."""
    model = TwoInputs(((0.0, 0.0), (0.0, 0.0))).bfloat16()
    batches = [text([[0]], [[1]])] * 600
    found = recorded(tmp_path, model, batches, GRADIENTS, {"head.weight": (2, 2)})
    assert found["head.weight|gradient_sum"].tolist() == [[300.0, 0.0], [300.0, 0.0]]
    assert found["head.weight|gradient_abs"].tolist() == [[0.5, 0.0], [0.5, 0.0]]
    assert found["head.weight|gradient_square"].tolist() == [[0.25, 0.0], [0.25, 0.0]]


def test_a_bfloat16_llama_equals_a_plain_loop_over_its_gradients(tmp_path, llama):
    batches, names = blocks(3, rows=1), list(candidates(named_shapes(llama)))
    found = recorded(tmp_path, llama.bfloat16(), batches, GRADIENTS)
    assert {t.dtype for t in found.values()} == {torch.float32}
    assert_close(found, reference(tiny_llama().bfloat16(), batches, names), rtol=1e-5)


def test_autocast_is_around_each_forward_pass(tmp_path, llama):
    autocast = partial(torch.autocast, "cpu", torch.bfloat16)
    plain = recorded(tmp_path, llama, blocks(2), ["gradient_abs"])
    found = recorded(tmp_path, llama, blocks(2), ["gradient_abs"], autocast=autocast)
    for key, value in plain.items():
        assert not torch.equal(found[key], value)
        assert (found[key] - value).abs().sum() < 0.1 * value.sum()


@pytest.mark.parametrize("candidate", ["model.layers.0.mlp.up_proj.weight", "model.embed_tokens.weight"])
def test_tied_embeddings_are_no_obstacle(tmp_path, llama, candidate):
    other = tiny_llama()
    for model in (llama, other):
        model.lm_head.weight = model.model.embed_tokens.weight
    wanted = reference(other, uneven(), [candidate])
    shape = named_shapes(llama)[candidate]
    assert_close(recorded(tmp_path, llama, uneven(), GRADIENTS, {candidate: shape}), wanted)


@pytest.mark.parametrize("statistics", [STATISTICS, ["gradient_abs"], ["input_norm"]])
@pytest.mark.parametrize("fails", [False, True])
def test_the_model_is_left_as_it_was_found(tmp_path, statistics, fails):
    model = tiny_llama(attention_dropout=0.5)
    model.model.layers[1].eval()
    parameters = dict(model.named_parameters())
    for number, parameter in enumerate(parameters.values()):
        parameter.requires_grad_(number % 3 > 0)
        parameter.grad = torch.full_like(parameter, 7.0) if number % 2 else None
    batches = blocks(2)
    if fails:
        batches[1]["input_ids"] = batches[1]["input_ids"] + 1000
    grads = {name: p.grad for name, p in parameters.items()}
    weights = {name: p.detach().clone() for name, p in parameters.items()}
    required = {name: p.requires_grad for name, p in parameters.items()}
    modes = {name: m.training for name, m in model.named_modules()}
    random = torch.get_rng_state()
    if fails:
        with pytest.raises(IndexError):
            recorded(tmp_path, model, batches, statistics)
        assert list(tmp_path.iterdir()) == []
    else:
        found = recorded(tmp_path, model, batches, statistics)
        still = recorded(tmp_path, tiny_llama(), batches, statistics)
        assert all(torch.equal(found[key], still[key]) for key in still), "dropout was on"
    assert {name: p.requires_grad for name, p in parameters.items()} == required
    assert {name: m.training for name, m in model.named_modules()} == modes
    for name, parameter in model.named_parameters():
        assert parameter is parameters[name]
        assert parameter.grad is grads[name]
        assert parameter.grad is None or bool((parameter.grad == 7.0).all())
        assert torch.equal(parameter.detach(), weights[name])
    assert not any(m._forward_pre_hooks for m in model.modules())
    assert not any(p._post_accumulate_grad_hooks for p in parameters.values())
    assert torch.equal(torch.get_rng_state(), random)


def test_it_works_inside_no_grad(tmp_path, llama):
    with torch.no_grad():
        found = recorded(tmp_path, llama, blocks(1), ["gradient_sum"])
        assert not torch.is_grad_enabled()
    assert all(t.max() > 0 for t in found.values())


def refused(tmp_path, match, model, batches, statistics, shapes, limit=PLENTY):
    with pytest.raises(ValueError, match=match):
        record(model, batches, shapes, statistics, tmp_path / "refused", limit)
    assert list(tmp_path.iterdir()) == []


def test_what_can_not_be_recorded_is_refused_by_name_before_any_pass(tmp_path, llama):
    llama.forward = None
    shapes, batches = named_shapes(llama), blocks(2)
    query = {FIRST: shapes[FIRST]}
    refused(tmp_path, "gradient_cube", llama, batches, ["gradient_sum", "gradient_cube"], query)
    refused(tmp_path, "must be some of", llama, batches, [], query)
    refused(tmp_path, "no parameter nothing", llama, batches, ["gradient_sum"], {"nothing": (2,)})
    refused(tmp_path, r"no parameter model.*\(32, 31\)", llama, batches, ["gradient_sum"], {FIRST: (32, 31)})
    for name in ("model.norm.weight", "model.embed_tokens.weight"):
        refused(tmp_path, f"input_norm.*{name}", llama, batches, STATISTICS, {**query, name: shapes[name]})
    refused(tmp_path, r"region\.memory allows 1,000 bytes, but model", llama, batches, ["gradient_sum"], query, 1000)
    silent = [{**batch, "shift_labels": torch.full_like(batch["input_ids"], -100)} for batch in batches]
    for nothing in ([], silent):
        refused(tmp_path, "no scored token", llama, nothing, ["gradient_sum"], query)
    weight = llama.model.layers[0].self_attn.q_proj
    weight.weight = torch.nn.Parameter(weight.weight.data.to(torch.int8), requires_grad=False)
    refused(tmp_path, f"{FIRST} is Parameter of torch.int8", llama, batches, ["gradient_sum"], query)


def test_a_text_that_changes_between_passes_is_refused(tmp_path, llama):
    class Shuffled:
        def __init__(self):
            self.batches = blocks(2)

        def __iter__(self):
            self.batches.reverse()
            return iter(self.batches)

    shapes = candidates(named_shapes(llama))
    refused(tmp_path, "fixed order", llama, iter(blocks(2)), ["gradient_sum"], shapes)
    refused(tmp_path, "fixed order", llama, Shuffled(), ["gradient_sum"], shapes)


@pytest.mark.parametrize("statistic", ["gradient_sum", "input_norm"])
def test_an_infinite_loss_names_the_batch(tmp_path, statistic):
    model = TwoInputs()
    model.inputs[1] = math.inf
    batches = [text([[0]], [[0]]), text([[-0]], [[-100]]), text([[1]], [[0]])]
    refused(tmp_path, "loss of batch 2 ", model, batches, [statistic], {"head.weight": (2, 2)})


def test_a_statistic_that_overflows_names_the_parameter(tmp_path):
    model = TwoInputs(((0.0, 0.0), (0.0, 0.0)))
    model.inputs[0, 0] = 1e20
    one = text([[0]], [[0]])
    shapes = {"head.weight": (2, 2)}
    refused(tmp_path, "gradient_square of head.weight is not finite", model, [one], ["gradient_square"], shapes)
    found = recorded(tmp_path, model, [one], ["gradient_sum"], shapes)
    assert found["head.weight|gradient_sum"][0, 0].item() == pytest.approx(0.5e20)


@pytest.mark.parametrize("statistic", STATISTICS)
def test_a_parameter_that_takes_no_part_is_refused(tmp_path, statistic):
    model = TwoInputs()
    model.spare = torch.nn.Linear(3, 3)
    shapes = {"head.weight": (2, 2), "spare.weight": (3, 3)}
    refused(tmp_path, "spare.weight takes no part", model, [text([[0]], [[0]])], [statistic], shapes)
