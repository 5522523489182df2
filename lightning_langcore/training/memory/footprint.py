"""Memory of each part of a training, in bytes on one device, from shapes alone: formulas for a LLaMA.

Symbols in the formulas: N tokens per device and micro-batch (B sequences of T), h hidden size, i intermediate size,
q and k widths of queries and keys (heads x head size), V vocabulary size, e bytes per weight and per element of the
residual stream, c bytes per element of matrix products (2 under autocast).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lightning_langcore.metrics.functional import ROWS
from lightning_langcore.metrics.text_scorer import BATCH_TOKENS
from lightning_langcore.regions.weight_set import IDX_FOR_FAST_ACCESS, INT32_MAX

Shapes = Mapping[str, Sequence[int]]
_BNB_BLOCK = 256
_BNB_CODE = 256 * 4  # bytes of bitsandbytes' table of 8-bit numbers, one table per moment


@dataclass(frozen=True)
class Model:
    """Shapes of the parameters, and the settings of a config that determine the size of activations.

    ``changes_logits``: the model changes the output of its head, so that an evaluation holds all logits of a batch.
    """

    shapes: Shapes
    num_layers: int
    hidden: int
    intermediate: int
    num_heads: int
    num_kv_heads: int
    head_size: int
    vocabulary: int
    changes_logits: bool = False

    @property
    def num_weights(self) -> int:
        """All weights, tied ones once."""
        return sum(map(math.prod, self.shapes.values()))


@dataclass(frozen=True)
class Optimizer:
    """Memory properties of an optimizer.

    Args:
        num_states: state tensors in the shape of the parameter: 2 for Adam, 1 for momentum.
        has_counter: whether there is a float32 step count per parameter.
        min_8bit_size: number of elements from which states are 8-bit, in blocks with one float32 each; ``None``: no
            8-bit states.
        paged: whether states can be paged out to the host.
        num_copies: whole copies of the parameters during a step, as with ``foreach``.
    """

    num_states: int
    has_counter: bool = False
    min_8bit_size: int | None = None
    paged: bool = False
    num_copies: int = 0


@dataclass(frozen=True)
class Guard:
    """The guarded weights: the fraction of each candidate, as single weights or whole rows or columns."""

    candidates: Shapes
    fraction: float
    granularity: str = "element"


@dataclass(frozen=True)
class Training:
    """The settings of a run that determine its memory.

    Args:
        model: see :class:`Model`.
        optimizer: see :class:`Optimizer`.
        width: bytes of a weight, of its gradient and of each unquantized optimizer state.
        autocast: matrix products in 2 bytes from float32 weights.
        batch_size: sequences per device and micro-batch.
        block_size: tokens per sequence.
        attention: ``eager`` holds the T x T attention scores, other implementations do not.
        masked: several texts in a row, so that attention gets a mask.
        checkpointing: activation checkpointing: only the inputs of the layers are held, and each layer runs again in
            the backward pass.
        chunked_loss: the loss is computed for a few hundred positions at a time.
        accumulates: gradients of several batches are accumulated.
        evaluates: languages are evaluated between steps.
        guard: the guarded weights; ``None``: no guard.
        copies_start: a float32 copy of all weights on the CPU (WeightDiff without a reference).
        averages: a copy of all weights on the CPU, their average (WeightAveraging).
        strategy: ``one``, ``ddp`` or ``fsdp2``.
        num_devices: number of devices over which FSDP2 shards.
        bucket_views: DDP's gradients are views of its buckets, not copies.
    """

    model: Model
    optimizer: Optimizer
    width: int = 4
    autocast: bool = False
    batch_size: int = 8
    block_size: int = 128
    attention: str = "sdpa"
    masked: bool = False
    checkpointing: bool = False
    chunked_loss: bool = False
    accumulates: bool = False
    evaluates: bool = False
    guard: Guard | None = None
    copies_start: bool = False
    averages: bool = False
    strategy: str = "one"
    num_devices: int = 1
    bucket_views: bool = False

    @property
    def products(self) -> int:
        """Bytes of an element in matrix products."""
        return 2 if self.autocast else self.width

    @property
    def num_tokens(self) -> int:
        """Tokens per device and micro-batch."""
        return self.batch_size * self.block_size

    @property
    def num_shards(self) -> int:
        """Number of devices over which weights are sharded."""
        return self.num_devices if self.strategy == "fsdp2" else 1


def state_bytes(training: Training) -> int:
    """Optimizer states of the weights on one device."""
    optimizer, total = training.optimizer, 0
    small = optimizer.min_8bit_size
    for size in _local_sizes(training):
        if small is None:
            total += optimizer.num_states * training.width * size + 4 * optimizer.has_counter
        elif size < small:
            total += optimizer.num_states * 4 * size
        else:
            total += optimizer.num_states * (size + 4 * math.ceil(size / _BNB_BLOCK))
    return total + (0 if small is None else optimizer.num_states * _BNB_CODE)


def guard_bytes(training: Training) -> int:
    """The guarded values and their positions, see :class:`lightning_langcore.CoreGuard`."""
    guard = training.guard
    if guard is None:
        return 0
    sizes = [_guarded(shape, guard, training.width) for shape in guard.candidates.values()]
    return math.ceil(sum(sizes) / training.num_shards)


def _guarded(shape: Sequence[int], guard: Guard, width: int) -> int:
    size = math.prod(shape)
    if guard.granularity == "element":
        count = round(guard.fraction * size)
        place = 4 if size <= INT32_MAX else 8
        return width * count + (place * count if count <= IDX_FOR_FAST_ACCESS * size else math.ceil(size / 8))
    axis = 0 if guard.granularity == "row" else 1
    count = round(guard.fraction * shape[axis])
    return count * (4 + width * (size // shape[axis]))


def activation_bytes(training: Training) -> int:
    """Activations that the forward pass keeps for the backward pass, without the logits.

    A layer keeps, per token: for each of its two norms the input in float32, the normalized input and 4 bytes
    (4h + eh + 4); the inputs of its matrices (2eh, or 5ch where autocast makes a copy for each of five); queries,
    keys, values, the output (c(2q + 2k)) and 4 bytes per head; four intermediate tensors (4ci). With ``eager`` keys and
    values are as wide as the queries, and there are T attention scores per head in float32 and in c bytes. After the
    layers: a norm, the head's input, the ids. A checkpointed layer keeps its input (eh).
    """
    m, e = training.model, training.width
    positions = 2 * training.block_size * m.head_size * e
    each = training.num_tokens * e * m.hidden if training.checkpointing else layer_bytes(training)
    return m.num_layers * each + after_layers_bytes(training) + positions


def after_layers_bytes(training: Training) -> int:
    """The part of :func:`activation_bytes` after the layers, which is released before the layers' backward pass."""
    m, e = training.model, training.width
    return training.num_tokens * (4 * m.hidden + e * m.hidden + 4 + training.products * m.hidden + 8)


def layer_bytes(training: Training) -> int:
    """Activations that one layer keeps for its backward pass, see :func:`activation_bytes`."""
    m, e, c = training.model, training.width, training.products
    q, k = m.num_heads * m.head_size, m.num_kv_heads * m.head_size
    norms = 2 * (4 * m.hidden + e * m.hidden + 4)
    inputs = (5 * c if training.autocast else 2 * e) * m.hidden
    if training.attention == "eager":
        scores = m.num_heads * training.block_size * (4 if c == 4 else 4 + c)
        attention = 4 * c * q + scores
    elif training.masked:
        attention = 4 * c * q + 4 * m.num_heads + c * training.block_size
    else:
        attention = c * (2 * q + 2 * k) + 4 * m.num_heads
    return training.num_tokens * (norms + inputs + attention + 4 * c * m.intermediate)


def backward_bytes(training: Training) -> int:
    """Memory of a layer's backward pass in addition to the layer's activations.

    Gradients of three intermediate tensors and of two tensors of the residual stream. In float32 and under autocast one
    of the three replaces the activation of the last matrix; measurements show that this does not hold with weights of 2
    bytes.
    """
    m, e = training.model, training.width
    num_tensors = 3 if e == 2 else 2
    return training.num_tokens * (num_tensors * training.products * m.intermediate + 2 * e * m.hidden)


def head_gradient_bytes(training: Training) -> int:
    """The gradient of the head, the first of the backward pass."""
    return math.ceil(training.width * training.model.vocabulary * training.model.hidden / training.num_shards)


def logit_bytes(training: Training) -> tuple[int, int]:
    """Peak memory of logits and loss in the forward pass, and at the start of the backward pass.

    The forward pass holds the logits in the dtype of the products, in float32 and as log-probabilities; the backward
    pass holds the log-probabilities and two gradients in float32: 12 bytes per logit. With a chunked loss the logits of
    512 positions are held in float32 (and in the dtype of the products, if it differs), and the forward pass already
    computes the gradients of the head (float32, then e) and of its input.
    """
    m, c, e = training.model, training.products, training.width
    if not training.chunked_loss:
        numel = training.num_tokens * m.vocabulary
        return numel * (c + (0 if c == 4 else 4) + 4), numel * 12
    made = 4 * m.vocabulary * m.hidden + e * training.num_tokens * m.hidden
    rows = min(training.num_tokens, ROWS)
    chunk = (4 * rows if c == 4 else max((4 + c) * rows, c * (rows + m.hidden))) * m.vocabulary
    return made + chunk, made + (0 if e == 4 else e * m.vocabulary * m.hidden)


def evaluation_bytes(training: Training) -> int:
    """Peak memory of the evaluation of a batch of 4096 tokens, without gradients: in a layer, or in the head.

    In a layer, per token: seven times the residual stream (7eh) and either three intermediate tensors and an input
    (3ci + ch) or queries, keys, values and output (4cq; with ``eager`` 6cq, and attention scores of 8 bytes). In the
    head: five times the residual stream, with autocast the head's input, and the logits of 512 positions in float32
    and, if it differs, in the dtype of the products; all logits in this dtype if the model changes them.
    """
    m, e, c = training.model, training.width, training.products
    q, tokens = m.num_heads * m.head_size, max(BATCH_TOKENS, training.block_size)
    attention = 4 * c * q
    if training.attention == "eager":
        attention += 2 * c * q + 8 * m.num_heads * training.block_size
    layer = tokens * (7 * e * m.hidden + max(3 * c * m.intermediate + c * m.hidden, attention))
    logits = m.vocabulary * ROWS * (4 if c == 4 else 4 + c)
    if m.changes_logits:
        logits = m.vocabulary * (c * tokens + ROWS * (4 if c == 4 else 8))
    head = tokens * (5 * e * m.hidden + (c * m.hidden if training.autocast else 0)) + logits
    return max(layer, head)


def cast_bytes(training: Training) -> tuple[int, int, int]:
    """2-byte copies of matrices by autocast: of the head, of all layers for the backward pass, and of one layer."""
    if not training.autocast:
        return 0, 0, 0
    m = training.model
    layer = 2 * _largest_layer(training)
    return 2 * m.vocabulary * m.hidden, 0 if training.checkpointing else m.num_layers * layer, layer


def step_bytes(training: Training) -> int:
    """Temporary copies in the optimizer's step: none if it is fused, one of the largest tensor in a plain loop."""
    sizes, optimizer = _local_sizes(training), training.optimizer
    copies = optimizer.num_copies * training.width * sum(sizes)
    guard = training.guard
    if guard is not None:  # positions are converted to int64, one matrix at a time
        largest = max(map(math.prod, guard.candidates.values()), default=0)
        copies = max(copies, 8 * round(guard.fraction * largest) if guard.granularity == "element" else 0)
    return copies


def bucket_bytes(training: Training) -> int:
    """DDP: the buckets into which gradients are copied for the sum over devices."""
    has_copies = training.strategy == "ddp" and not training.bucket_views
    return training.width * training.model.num_weights if has_copies else 0


def gathered_bytes(training: Training) -> int:
    """FSDP2: whole embeddings, norm and head, the current layer, the next layer, and its communication buffer."""
    if training.num_shards == 1:
        return 0
    rest = training.model.num_weights - sum(_layers(training.model.shapes).values())
    return training.width * (rest + 3 * _largest_layer(training))


def late_gradient_bytes(training: Training) -> int:
    """Gradients computed last: of the first layer, and of the embeddings if the head is not tied to them."""
    m = training.model
    table = m.vocabulary * m.hidden
    rest = m.num_weights - sum(_layers(m.shapes).values())
    return training.width * (_largest_layer(training) + (table if rest >= 2 * table else 0)) // training.num_shards


def _largest_layer(training: Training) -> int:
    return max(_layers(training.model.shapes).values(), default=0)


def _layers(shapes: Shapes) -> dict[str, int]:
    """Number of weights of each numbered layer."""
    sizes: dict[str, int] = {}
    for name, shape in shapes.items():
        number = next((part for part in name.split(".") if part.isdigit()), None)
        if number is not None:
            sizes[number] = sizes.get(number, 0) + math.prod(shape)
    return sizes


def _local_sizes(training: Training) -> list[int]:
    """Elements of each parameter on one device: FSDP2 shards the rows, and the first device has most of them."""
    return [
        math.ceil(shape[0] / training.num_shards) * math.prod(shape[1:]) for shape in training.model.shapes.values()
    ]


def local_weights(training: Training) -> int:
    """Number of weights on one device."""
    return sum(_local_sizes(training))
