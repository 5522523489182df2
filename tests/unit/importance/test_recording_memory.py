"""Recording within a limit: groups of parameters, their buffers, and gradients that are let go of."""

import gc
import math
import weakref

import pytest
import torch
from torch.overrides import TorchFunctionMode

from lightning_langcore.importance.recording import GRADIENTS, STATISTICS, groups, num_bytes
from lightning_langcore.models.parameters import candidates, named_shapes
from tests.support.models import tiny_llama
from tests.support.recordings import FIRST, LAST, recorded, uneven
from tests.support.training import blocks


@pytest.mark.parametrize("statistics", [STATISTICS, ("gradient_sum", "gradient_abs"), ("input_norm",)])
def test_groups_of_any_limit_give_bit_equal_results(tmp_path, llama, statistics):
    batches, shapes = uneven(), candidates(named_shapes(llama))
    once = recorded(tmp_path, llama, batches, statistics)
    single = max(num_bytes({name: shape}, statistics) for name, shape in shapes.items())
    counts = []
    for limit in (single, 3 * single):
        counts.append(len(groups(shapes, statistics, limit)))
        found = recorded(tmp_path, llama, batches, statistics, limit=limit)
        assert list(found) == list(once)
        assert all(torch.equal(found[key], once[key]) for key in once)
    assert counts[0] > counts[1] > 1


def test_groups_keep_the_order_and_fit_the_limit_exactly():
    shapes = {"a": (10, 10), "b": (10, 10), "c": (5, 2), "d": (10, 20)}
    # gradient_sum and gradient_square: 8 bytes a weight; the largest tensor's gradient and copy: 8 more
    wanted = ["gradient_square", "gradient_sum"]
    assert num_bytes(shapes, wanted) == 8 * 410 + 8 * 200
    assert groups(shapes, wanted, 8 * 410 + 8 * 200) == [["a", "b", "c", "d"]]
    assert groups(shapes, wanted, 8 * 410 + 8 * 200 - 1) == [["a", "b", "c"], ["d"]]
    assert groups(shapes, wanted, 8 * 200 + 8 * 200) == [["a", "b", "c"], ["d"]]
    small = {name: shapes[name] for name in "abc"}
    assert groups(small, wanted, 8 * 200 + 8 * 100) == [["a", "b"], ["c"]]
    assert groups(small, wanted, 8 * 200 + 8 * 100 - 1) == [["a"], ["b", "c"]]
    with pytest.raises(ValueError, match=r"region\.memory allows 3,199 bytes, but d alone needs 3,200"):
        groups(shapes, wanted, 8 * 200 + 8 * 200 - 1)
    assert num_bytes(shapes, ["input_norm"]) == 8 * (10 + 10 + 2 + 20)
    assert num_bytes(shapes, ["gradient_abs"]) == 4 * 410 + 8 * 200
    assert num_bytes(shapes, STATISTICS) == 16 * 410 + 8 * 200 + 8 * 42


def live_bytes(shapes, before):
    """Bytes of the tensors of these shapes that Python holds, but for those of ``before``."""
    found = [
        o
        for o in gc.get_objects()
        if type(o) is torch.Tensor and id(o) not in before and tuple(o.shape) in shapes and o.is_floating_point()
    ]
    return sum(t.numel() * t.element_size() for t in found)


@pytest.mark.parametrize("statistics", [STATISTICS, *([s] for s in STATISTICS)])
def test_the_announced_bytes_are_those_that_are_alive(tmp_path, statistics):
    model = tiny_llama(num_key_value_heads=1)
    shapes = candidates(named_shapes(model))
    limit = num_bytes(shapes, statistics) // 2
    largest = max(math.prod(shape) for shape in shapes.values())
    gc.collect()
    before = {id(o) for o in gc.get_objects()}
    seen = []
    looked_for = {*map(tuple, shapes.values()), (32,), (64,)}
    # called after the last linear layer of a forward pass, when all is allocated; in a second pass the tensor that is
    # on its way to the file is there too
    model.lm_head.register_forward_hook(lambda *_: seen.append(live_bytes(looked_for, before)))
    recorded(tmp_path, model, blocks(1), statistics, limit=limit)
    plan = groups(shapes, statistics, limit)
    assert len(plan) in (2, 3)
    passing = len(seen) // len(plan)
    for number, names in enumerate(plan):
        part = {name: shapes[name] for name in names}
        folding = 8 * max(math.prod(s) for s in part.values()) if set(statistics) & set(GRADIENTS) else 0
        on_its_way = 4 * largest if number else 0
        alive = max(seen[number * passing : (number + 1) * passing])
        assert alive <= num_bytes(part, statistics) - folding + on_its_way
        assert number or alive == num_bytes(part, statistics) - folding


def test_a_group_lets_go_of_its_buffers_before_the_next_one_begins(tmp_path, llama):
    made, alive = [], []

    class Watch(TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            result = func(*args, **(kwargs or {}))
            if func is torch.zeros:
                made.append(weakref.ref(result))
                alive.append(sum(4 * t.numel() for t in (ref() for ref in made) if t is not None))
            return result

    shapes = candidates(named_shapes(llama))
    limit = num_bytes(shapes, GRADIENTS) // 3
    with Watch():
        recorded(tmp_path, llama, blocks(1), GRADIENTS, limit=limit)
    assert len(made) == 4 * len(shapes)
    weights = sum(math.prod(shape) for shape in shapes.values())
    assert 16 * weights > 2 * max(alive)
    assert limit - 8 * 32 * 64 - 16 * 32 * 64 < max(alive) <= limit - 8 * 32 * 32 + 4 * 32 * 64


def test_never_two_gradients_at_once(tmp_path, llama):
    parameters = dict(llama.named_parameters())
    alive = []
    for name in candidates(named_shapes(llama)):
        parameters[name].register_post_accumulate_grad_hook(
            lambda _: alive.append(sum(p.grad is not None for p in parameters.values()))
        )
    recorded(tmp_path, llama, blocks(2), GRADIENTS)
    assert alive == [1] * (2 * 2 * len(candidates(named_shapes(llama))))


@pytest.mark.parametrize(("name", "reached"), [(FIRST, True), (LAST, False)])
def test_a_late_group_stops_the_backward_pass_early(tmp_path, llama, name, reached):
    needs = []
    llama.model.layers[0].register_forward_hook(
        lambda *a: needs.append((a[2][0] if isinstance(a[2], tuple) else a[2]).requires_grad)
    )
    found = recorded(tmp_path, llama, blocks(2), ["gradient_sum"], {name: named_shapes(llama)[name]})
    assert needs == [reached, reached]
    assert found[f"{name}|gradient_sum"].max() > 0
