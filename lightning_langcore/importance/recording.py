r"""Statistics of each weight from text at fixed weights, the input of importance scores.

:math:`g_b` is the gradient of batch b's mean loss (nats per token with a label), :math:`g_s` the gradient of the mean
loss of sample s, a row of a batch; rows and batches without a label do not count. :math:`x_t` is a linear layer's input
at token t.

* ``gradient_sum`` :math:`|\sum_b g_b|`, 4 bytes per weight: the factor of the weight in the code of Zhang et al., ACL
  2024 (arXiv 2402.14700).
* ``gradient_abs`` :math:`\mathrm{mean}_b |g_b|`, 4 bytes per weight, 8 together with ``gradient_square``.
* ``gradient_square`` :math:`\mathrm{mean}_s g_s^2`, 4 bytes per weight: the diagonal of the empirical Fisher matrix,
  per sample and not of the batch's mean.
* ``input_norm`` :math:`\sqrt{\mathrm{mean}_t x_t^2}`, shape (in_features,), 8 bytes per column: the factor of the
  weight in Wanda (Sun et al. 2023, arXiv 2306.11695), up to the constant :math:`\sqrt{\text{tokens}}`.

The gradient that is being added and its float32 copy take 8 bytes per weight of the largest tensor; the gradient of
experts that share a parameter is computed for all of them at once.
"""

import json
import math
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lightning_langcore.metrics.functional import IGNORE, next_token_mean
from lightning_langcore.models import sharding
from lightning_langcore.models.parameter_part import Weight, parameter_of
from lightning_langcore.models.parameters import evaluation_mode, refuse_quantized, saved_parameters
from lightning_langcore.models.safetensors_writer import write_safetensors
from lightning_langcore.utils.errors import LangcoreError
from lightning_langcore.utils.progress import track

GRADIENTS = ("gradient_sum", "gradient_abs", "gradient_square")
STATISTICS = (*GRADIENTS, "input_norm")

Batch = Mapping[str, Tensor]
Shapes = Mapping[str, Sequence[int]]


def num_bytes(shapes: Shapes, statistics: Iterable[str]) -> int:
    """Bytes that one pass over the text needs besides the model and its activations; see the docstring of the module.

    Raises:
        LangcoreError: an unknown statistic, or no statistic.
    """
    statistics = _checked(statistics)
    sizes = [math.prod(shape) for shape in shapes.values()]
    num_buffers = sum(s in GRADIENTS for s in statistics) + _needs_batch_buffer(statistics)
    total = 4 * num_buffers * sum(sizes)
    if num_buffers:
        total += 8 * max(sizes, default=0)
    if "input_norm" in statistics:
        total += sum(8 * math.prod(shape[1:]) for shape in shapes.values())
    return total


def groups(shapes: Shapes, statistics: Iterable[str], limit: int) -> list[list[str]]:
    """Split the names, in their order, so that no group's :func:`num_bytes` exceeds ``limit``.

    Raises:
        LangcoreError: a tensor that needs more than ``limit`` alone, or an unknown statistic.
    """
    statistics = _checked(statistics)
    found: list[list[str]] = []
    for name, shape in shapes.items():
        alone = num_bytes({name: shape}, statistics)
        if alone > limit:
            raise LangcoreError(f"region.memory allows {limit:,} bytes, but {name} alone needs {alone:,}: allow more")
        if found and num_bytes({n: shapes[n] for n in [*found[-1], name]}, statistics) <= limit:
            found[-1].append(name)
        else:
            found.append([name])
    return found


def record(
    model: nn.Module,
    batches: Iterable[Batch],
    shapes: Shapes,
    statistics: Iterable[str],
    path: Path | str,
    limit: int,
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> None:
    """Record statistics over a text in a safetensors file: ``NAME|statistic``, float32; the model is unchanged.

    The text is read once to count it, then once for each of the :func:`groups`, with dropout off and gradients only for
    this group. With ``gradient_square`` each row has its own forward and backward pass, otherwise each batch;
    ``input_norm`` alone needs no backward pass. Positions after a row's last label are padding and do not count in
    ``input_norm``. Besides a group's buffers, one finished tensor is in memory until it is written. The metadata key
    ``langcore_statistics`` is JSON: ``statistics``, ``num_batches``, ``num_samples``, ``num_tokens`` (tokens with a
    label) and ``digest``, a checksum of the text.

    Args:
        model: called as ``model(input_ids=ids)``; returns logits (B, T, V), as a tensor or as ``.logits``. Its weights
            must not be sharded.
        batches: dicts of ``input_ids`` and ``shift_labels`` (the token after each position, -100 without a label), both
            (B, T) int64. They are read several times and must be the same each time.
        shapes: name, as in ``save_pretrained``, and shape of each parameter to record.
        statistics: some of ``STATISTICS``.
        path: the file to write.
        limit: largest allowed :func:`num_bytes` of a pass.
        autocast: returns the context manager of a forward pass.

    Raises:
        LangcoreError: before the first pass: an unknown statistic, a parameter that is missing or quantized,
            ``input_norm`` of a parameter that is no weight of a ``nn.Linear``, a text without labels, a tensor too
            large for ``limit``. Later, without leaving a file: a loss or statistic that is not finite, a text that
            changes between passes, a parameter that takes no part in the loss.
    """
    statistics = _checked(statistics)
    found = _find(model, shapes, "input_norm" in statistics)
    plan = groups(shapes, statistics, limit)
    text = _Text()
    for _ in text.read(batches):
        pass
    if not text.num_tokens:
        raise LangcoreError("the text to record statistics on has no token with a label")

    def tensors() -> Iterator[Tensor]:
        for number, names in enumerate(plan, start=1):
            accumulators = [_Accumulator(name, *found[name], statistics) for name in names]
            text_again = _Text()
            shown = track(batches, f"statistics of the weights, pass {number} of {len(plan)}", unit="batches")
            _one_pass(model, text_again.read(shown), accumulators, statistics, autocast)
            if text_again != text:
                raise LangcoreError("the text to record statistics on changes between passes: give it in a fixed order")
            yield from _finished(accumulators, statistics, text)

    layout = {f"{n}|{s}": tuple(shapes[n][1:] if s == "input_norm" else shapes[n]) for n in shapes for s in statistics}
    metadata = {"langcore_statistics": json.dumps({"statistics": statistics, **asdict(text)})}
    write_safetensors(path, layout, tensors(), metadata)


@dataclass
class _Text:
    """Counts and checksum of the text read so far; equal for equal texts."""

    num_batches: int = 0
    num_samples: int = 0
    num_tokens: int = 0
    digest: int = 0

    def read(self, batches: Iterable[Batch]) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Number, input ids and labels of each batch with a label."""
        for number, batch in enumerate(batches):
            ids, labels = batch["input_ids"], batch["shift_labels"]
            for part in (ids, labels):
                self.digest = zlib.crc32(part.cpu().numpy().tobytes(), self.digest)
            per_row = (labels != IGNORE).sum(1)
            if per_row.any():
                self.num_batches += 1
                self.num_samples += int((per_row > 0).sum())
                self.num_tokens += int(per_row.sum())
                yield number, ids, labels


class _Accumulator:
    """The running statistics of one parameter, on its device; ``linears`` are the layers with this weight."""

    def __init__(self, name: str, weight: Weight, linears: list[nn.Linear], statistics: list[str]) -> None:
        self.name, self.weight, self.linears = name, weight, linears
        zeros = partial(torch.zeros, tuple(weight.shape), dtype=torch.float32, device=weight.device)
        self.sums = {s: zeros() for s in statistics if s in GRADIENTS}
        self.batch = zeros() if _needs_batch_buffer(statistics) else None
        self.columns: Tensor | float = 0.0
        self.num_gradients = self.num_inputs = 0

    def add_gradient(self, gradient: Tensor, share: float) -> None:
        """Add the gradient of a piece of a batch that has this share (0..1) of the batch's labels."""
        gradient = gradient.to(torch.float32, copy=True)  # autograd may share its memory with another parameter's
        self.num_gradients += 1
        if "gradient_square" in self.sums:
            self.sums["gradient_square"].addcmul_(gradient, gradient)
        if "gradient_sum" in self.sums:
            self.sums["gradient_sum"].add_(gradient, alpha=share)
        if self.batch is not None:
            self.batch.add_(gradient, alpha=share)
        elif "gradient_abs" in self.sums:
            self.sums["gradient_abs"].add_(gradient.abs_())

    def end_batch(self) -> None:
        """Add the complete gradient of the batch, if it was accumulated over rows."""
        if self.batch is not None:
            self.sums["gradient_abs"].add_(self.batch.abs_())
            self.batch.zero_()

    def add_inputs(self, inputs: Tensor, counted_BT: Tensor) -> None:
        """Add the inputs, (B, T, in_features) or with B and T flattened, of the tokens in the mask ``counted_BT``."""
        inputs = inputs.detach().flatten(0, -2)
        if len(inputs) != counted_BT.numel():
            raise LangcoreError(f"input_norm: {self.name} gets {len(inputs)} inputs for {counted_BT.numel()} tokens")
        inputs = inputs[counted_BT.flatten().to(inputs.device)].float()
        self.columns = self.columns + inputs.square().sum(0, dtype=torch.float64)
        self.num_inputs += len(inputs)

    def result(self, statistic: str, text: _Text) -> Tensor:
        """The finished statistic, float32 on the CPU; its buffer is released."""
        if statistic == "input_norm":
            return torch.as_tensor(self.columns / self.num_inputs).sqrt().float().cpu()
        total = self.sums.pop(statistic)
        if statistic == "gradient_sum":
            return total.abs_().cpu()
        return total.div_(text.num_samples if statistic == "gradient_square" else text.num_batches).cpu()


def _one_pass(
    model: nn.Module,
    text: Iterable[tuple[int, Tensor, Tensor]],
    accumulators: Sequence[_Accumulator],
    statistics: Sequence[str],
    autocast: Callable[[], AbstractContextManager[Any]],
) -> None:
    device = next(model.parameters()).device
    trained = [parameter for parameter, _ in _by_parameter(accumulators)]
    with _gradients_only_for(model, trained), torch.set_grad_enabled(bool(trained)):
        for number, ids, labels in text:
            for rows, share in _pieces(labels, "gradient_square" in statistics):
                piece = labels[rows].to(device)
                with _hooks(accumulators, piece, share):
                    with autocast():
                        output = model(input_ids=ids[rows].to(device))
                    logits = output if isinstance(output, Tensor) else output.logits
                    loss = next_token_mean(logits, piece.to(logits.device))
                    if not math.isfinite(loss.item()):
                        raise LangcoreError(f"the loss of batch {number} (the first is 0) is {loss.item()}")
                    if loss.requires_grad:
                        loss.backward()
            for accumulator in accumulators:
                accumulator.end_batch()


def _pieces(labels: Tensor, by_row: bool) -> list[tuple[slice, float]]:
    """Pieces of a batch, one per forward pass: rows, and their share of the batch's labels."""
    if not by_row:
        return [(slice(None), 1.0)]
    scored = (labels != IGNORE).sum(1).tolist()
    return [(slice(row, row + 1), num / sum(scored)) for row, num in enumerate(scored) if num]


@contextmanager
def _gradients_only_for(model: nn.Module, trained: Sequence[Tensor]) -> Iterator[None]:
    """Dropout off and gradients only for ``trained``; afterwards the previous state of the model is restored."""
    before = [(parameter, parameter.requires_grad, parameter.grad) for parameter in model.parameters()]
    try:
        for parameter, _, _ in before:
            parameter.requires_grad_(False)
        for chosen in trained:
            chosen.requires_grad_(True)
            chosen.grad = None
        with evaluation_mode(model):
            yield
    finally:
        for parameter, required, gradient in before:
            parameter.requires_grad_(required)
            parameter.grad = gradient


@contextmanager
def _hooks(accumulators: Sequence[_Accumulator], labels: Tensor, share: float) -> Iterator[None]:
    """Add each gradient as soon as it is computed and release it, so that only one is in memory."""
    counted = (labels != IGNORE).flip(1).cumsum(1).flip(1) > 0

    def add_gradient(owners: list[_Accumulator], parameter: Tensor) -> None:
        gradient, parameter.grad = parameter.grad, None
        assert gradient is not None
        for own in owners:
            own.add_gradient(sharding.same_part(own.weight, gradient), share)

    def add_inputs(own: _Accumulator, _: nn.Module, args: tuple[Tensor, ...]) -> None:
        own.add_inputs(args[0], counted)

    with ExitStack() as stack:
        for parameter, owners in _by_parameter(accumulators):
            stack.callback(parameter.register_post_accumulate_grad_hook(partial(add_gradient, owners)).remove)
        for own in accumulators:
            for linear in own.linears:
                stack.callback(linear.register_forward_pre_hook(partial(add_inputs, own)).remove)
        yield


def _by_parameter(accumulators: Sequence[_Accumulator]) -> list[tuple[Tensor, list[_Accumulator]]]:
    """The parameters whose gradients are needed, each with the accumulators of its parts."""
    found: dict[int, tuple[Tensor, list[_Accumulator]]] = {}
    for own in accumulators:
        if own.sums:
            parameter = parameter_of(own.weight)
            found.setdefault(id(parameter), (parameter, []))[1].append(own)
    return list(found.values())


def _finished(accumulators: list[_Accumulator], statistics: Sequence[str], text: _Text) -> Iterator[Tensor]:
    """The finished statistics in order; each buffer is released before the next statistic."""
    while accumulators:
        own = accumulators.pop(0)
        if (own.sums and not own.num_gradients) or (own.linears and not own.num_inputs):
            raise LangcoreError(f"{own.name} takes no part in the loss of the text: leave it out of region.parameters")
        for statistic in statistics:
            tensor = own.result(statistic, text)
            if not torch.isfinite(tensor).all():
                raise LangcoreError(f"{statistic} of {own.name} is not finite")
            yield tensor


def _checked(statistics: Iterable[str]) -> list[str]:
    """The statistics in the order of ``STATISTICS``."""
    requested = set(statistics)
    if not requested or not requested <= set(STATISTICS):
        raise LangcoreError(f"statistics={sorted(requested)} must be some of {', '.join(STATISTICS)}")
    return [s for s in STATISTICS if s in requested]


def _needs_batch_buffer(statistics: Iterable[str]) -> bool:
    """Whether gradients of rows must be summed over the batch before they are used."""
    return {"gradient_abs", "gradient_square"} <= set(statistics)


def _find(model: nn.Module, shapes: Shapes, inputs: bool) -> dict[str, tuple[Weight, list[nn.Linear]]]:
    """Each parameter, and, if ``inputs``, the linear layers with this weight."""
    parameters = saved_parameters(model)
    layers = [module for module in model.modules() if inputs and isinstance(module, nn.Linear)]
    found = {}
    for name, shape in shapes.items():
        if name not in parameters or tuple(parameters[name].shape) != tuple(shape):
            first = {n: tuple(p.shape) for n, p in list(parameters.items())[:2]}
            raise LangcoreError(f"the model has no parameter {name} of shape {tuple(shape)}; it begins with {first}")
        parameter = parameters[name]
        refuse_quantized(name, parameter, "recording statistics")
        found[name] = parameter, [layer for layer in layers if layer.weight is parameter]
        if inputs and not found[name][1]:
            raise LangcoreError(f"input_norm exists only for weights of nn.Linear, and {name} is none: leave it out")
    return found
