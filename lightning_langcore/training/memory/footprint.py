"""What each part of a training takes, in bytes on one device, from shapes alone: arithmetic on a LLaMA.

Letters in the formulas: N tokens on a device at once (B sequences of T), h hidden, i intermediate, q and k widths of
the queries and of the keys (heads x head size), V vocabulary, e bytes of a weight and of the residual stream, c bytes
of the matrix products (2 under autocast).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lightning_langcore.metrics.functional import ROWS
from lightning_langcore.metrics.text_scorer import BATCH_TOKENS
from lightning_langcore.regions.weight_set import IDX_FOR_SPEED, INT32_MAX

Shapes = Mapping[str, Sequence[int]]
_BNB_BLOCK = 256
_BNB_CODE = 256 * 4  # bytes of the table of its 8-bit numbers, one for each moment


@dataclass(frozen=True)
class Model:
    """Shapes of the parameters, and what else of a config decides the activations.

    ``changes_logits``: what comes out is not just what the head makes, so that all logits of a scored batch are held.
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
    """What an optimizer keeps.

    Args:
        num_states: tensors as large as the parameter: 2 for Adam, 1 for momentum.
        has_counter: a float32 step count for each parameter.
        min_8bit_size: elements from which on states are 8-bit, in blocks with a float32 each; ``None``: they are not.
        paged: states lie in memory that the host can take over.
        num_copies: whole copies of the parameters during a step, as ``foreach`` makes them.
    """

    num_states: int
    has_counter: bool = False
    min_8bit_size: int | None = None
    paged: bool = False
    num_copies: int = 0


@dataclass(frozen=True)
class Guard:
    """Which weights are kept: the fraction of each candidate, as single weights or whole rows or columns."""

    candidates: Shapes
    fraction: float
    granularity: str = "element"


@dataclass(frozen=True)
class Training:
    """What of a run decides its memory.

    Args:
        model: see there.
        optimizer: see there.
        width: bytes of a weight, of its gradient and of what an unquantized optimizer keeps of it.
        autocast: matrix products in 2 bytes from float32 weights.
        batch_size: sequences on a device at once.
        block_size: tokens a sequence.
        attention: ``eager`` holds the T x T scores, any other does not.
        masked: several texts in a row, so that attention is given a mask.
        checkpointing: only the inputs of the layers are held, and each is run again in the backward pass.
        chunked_loss: logits of a few hundred positions at once.
        accumulates: gradients of several batches are added up.
        scores: languages are scored between steps.
        guard: ``None``: no guard.
        copies_start: a float32 copy of all weights on the CPU (WeightDiff without a reference).
        strategy: ``one``, ``ddp`` or ``fsdp2``.
        num_devices: over which FSDP2 divides.
        bucket_views: DDP's buckets are the gradients, not copies of them.
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
    scores: bool = False
    guard: Guard | None = None
    copies_start: bool = False
    strategy: str = "one"
    num_devices: int = 1
    bucket_views: bool = False

    @property
    def products(self) -> int:
        """Bytes of an element in matrix products."""
        return 2 if self.autocast else self.width

    @property
    def num_tokens(self) -> int:
        """Tokens on a device at once."""
        return self.batch_size * self.block_size

    @property
    def num_shards(self) -> int:
        """Devices over which weights are divided."""
        return self.num_devices if self.strategy == "fsdp2" else 1


def state_bytes(training: Training) -> int:
    """What the optimizer keeps of the weights that a device holds."""
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
    """The guarded values and where they are: see :class:`lightning_langcore.CoreGuard`."""
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
        return width * count + (place * count if count <= IDX_FOR_SPEED * size else math.ceil(size / 8))
    across = 0 if guard.granularity == "row" else 1
    lines = round(guard.fraction * shape[across])
    return lines * (4 + width * (size // shape[across]))


def activation_bytes(training: Training) -> int:
    """What the forward pass keeps for the backward pass, the logits apart.

    A layer keeps, a token: for each of its two norms the input in float32, the normalized input and 4 bytes
    (4h + eh + 4); the inputs of its matrices (2eh, or 5ch where autocast makes a copy for each of five); queries, keys,
    values, the output (c(2q + 2k)) and 4 bytes a head; four intermediate tensors (4ci). With ``eager`` keys and values
    are as wide as the queries, and there are T scores a head in float32 and in c bytes. Behind the layers: a norm, the
    head's input, the ids. A checkpointed layer keeps its input (eh).
    """
    m, e = training.model, training.width
    positions = 2 * training.block_size * m.head_size * e
    each = training.num_tokens * e * m.hidden if training.checkpointing else layer_bytes(training)
    return m.num_layers * each + behind_bytes(training) + positions


def behind_bytes(training: Training) -> int:
    """Of :func:`activation_bytes`, what stands behind the layers, and is gone when they go backward."""
    m, e = training.model, training.width
    return training.num_tokens * (4 * m.hidden + e * m.hidden + 4 + training.products * m.hidden + 8)


def layer_bytes(training: Training) -> int:
    """What one layer keeps for its backward pass, see :func:`activation_bytes`."""
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
    """What a layer's backward pass adds to what the layer has kept.

    Gradients of three intermediate tensors and of two of the stream. In float32 and under autocast one of the three
    takes the place of what the last matrix had kept; with weights of 2 bytes it was measured not to.
    """
    m, e = training.model, training.width
    num_tensors = 3 if e == 2 else 2
    return training.num_tokens * (num_tensors * training.products * m.intermediate + 2 * e * m.hidden)


def head_gradient_bytes(training: Training) -> int:
    """The gradient of the head, which is made first."""
    return math.ceil(training.width * training.model.vocabulary * training.model.hidden / training.num_shards)


def logit_bytes(training: Training) -> tuple[int, int]:
    """The most that logits and loss hold in the forward pass, and at the start of the backward pass.

    Forward the logits stand in the type of the products, in float32 and as log-probabilities; backward the
    log-probabilities and two gradients are float32: 12 bytes each. In chunks the logits of 512 positions stand once in
    float32 (and once in the type of the products, where that is another), and the forward pass already makes the
    gradients of the head (float32, then e) and of its input.
    """
    m, c, e = training.model, training.products, training.width
    if not training.chunked_loss:
        numel = training.num_tokens * m.vocabulary
        return numel * (c + (0 if c == 4 else 4) + 4), numel * 12
    made = 4 * m.vocabulary * m.hidden + e * training.num_tokens * m.hidden
    rows = min(training.num_tokens, ROWS)
    chunk = (4 * rows if c == 4 else max((4 + c) * rows, c * (rows + m.hidden))) * m.vocabulary
    return made + chunk, made + (0 if e == 4 else e * m.vocabulary * m.hidden)


def scoring_bytes(training: Training) -> int:
    """The most that a batch of 4096 tokens holds while it is scored, without gradients: in a layer, or in the head.

    In a layer, a token: seven times the stream (7eh) and either three intermediate tensors and an input (3ci + ch) or
    queries, keys, values and output (4cq; with ``eager`` 6cq, and scores of 8 bytes). In the head: five times the
    stream, with autocast the head's input, and the logits of 512 positions in float32 and, where that is another, in
    the type of the products; all logits in that type where the model changes them.
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
    """Copies of matrices in 2 bytes that autocast makes: the head's, those that wait for backward, and one layer's."""
    if not training.autocast:
        return 0, 0, 0
    m = training.model
    layer = 2 * _largest_layer(training)
    return 2 * m.vocabulary * m.hidden, 0 if training.checkpointing else m.num_layers * layer, layer


def step_bytes(training: Training) -> int:
    """Working copies of the optimizer's step; a fused one has none, a plain loop one of the largest tensor."""
    sizes, optimizer = _local_sizes(training), training.optimizer
    copies = optimizer.num_copies * training.width * sum(sizes)
    guard = training.guard
    if guard is not None:  # positions are made int64 for one matrix at a time
        largest = max(map(math.prod, guard.candidates.values()), default=0)
        copies = max(copies, 8 * round(guard.fraction * largest) if guard.granularity == "element" else 0)
    return copies


def bucket_bytes(training: Training) -> int:
    """DDP: the buckets into which gradients are copied to be summed over the devices."""
    has_copies = training.strategy == "ddp" and not training.bucket_views
    return training.width * training.model.num_weights if has_copies else 0


def gathered_bytes(training: Training) -> int:
    """FSDP2: embeddings, norm and head whole, the present layer, the next, and the buffer in which that arrives."""
    if training.num_shards == 1:
        return 0
    rest = training.model.num_weights - sum(_layers(training.model.shapes).values())
    return training.width * (rest + 3 * _largest_layer(training))


def late_gradient_bytes(training: Training) -> int:
    """Gradients that are made last of all: the first layer's, and the embeddings' where the head has its own."""
    m = training.model
    table = m.vocabulary * m.hidden
    rest = m.num_weights - sum(_layers(m.shapes).values())
    return training.width * (_largest_layer(training) + (table if rest >= 2 * table else 0)) // training.num_shards


def _largest_layer(training: Training) -> int:
    return max(_layers(training.model.shapes).values(), default=0)


def _layers(shapes: Shapes) -> dict[str, int]:
    """Weights of each numbered layer."""
    sizes: dict[str, int] = {}
    for name, shape in shapes.items():
        number = next((part for part in name.split(".") if part.isdigit()), None)
        if number is not None:
            sizes[number] = sizes.get(number, 0) + math.prod(shape)
    return sizes


def _local_sizes(training: Training) -> list[int]:
    """Elements of each parameter on one device: FSDP2 divides the rows, the first device has most."""
    return [
        math.ceil(shape[0] / training.num_shards) * math.prod(shape[1:]) for shape in training.model.shapes.values()
    ]


def local_weights(training: Training) -> int:
    """Weights on one device."""
    return sum(_local_sizes(training))
