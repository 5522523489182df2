"""How much memory a training needs, and when: the parts of ``footprint`` put together as Lightning's step holds them.

Lightning's step is: forward, gradients of the step before set free, backward, optimizer. So there are some moments at
which most may be held, and the largest decides; weights and states are held at all of them:

forward    its end: the old gradients, activations, logits
backward   its start: activations, logits and their gradients; the weights' gradients only if they are accumulated
layers     when the layers begin: what stood behind them and the logits are gone, but for the gradient of the head
last       its last layer, the model's first: all gradients but its own, and what it needs
step       the optimizer's: all gradients, and its working copies
scoring    of the languages, between steps: the last gradients, a batch without gradients
"""

from dataclasses import dataclass, field

from lightning_langcore.training.memory import footprint
from lightning_langcore.training.memory.footprint import Training

GIB = 2**30
MOMENTS = {
    "forward": "the end of the forward pass",
    "backward": "the start of the backward pass",
    "layers": "the backward pass of the last layer",
    "last": "the end of the backward pass",
    "step": "the optimizer's step",
    "scoring": "the scoring of a language",
}


@dataclass(frozen=True)
class Plan:
    """Bytes on one device at the moment at which most is held, and bytes on the host, by what they are for.

    Attributes:
        moment: a key of ``MOMENTS``.
        device: what is held then.
        host: what lies in the CPU's memory, of one process.
        moments: bytes on the device at each of them.
    """

    moment: str
    device: dict[str, int]
    host: dict[str, int]
    moments: dict[str, int] = field(default_factory=dict)

    @property
    def num_bytes(self) -> int:
        """On the device."""
        return sum(self.device.values())


def plan(training: Training) -> Plan:
    """What a training holds on each device, and when it is most."""
    always = {
        "weights": training.width * footprint.local_weights(training),
        "optimizer states": footprint.state_bytes(training),
        "guard": footprint.guard_bytes(training),
        "gradient buckets": footprint.bucket_bytes(training),
        "gathered layers": footprint.gathered_bytes(training),
    }
    host = {"start of WeightDiff": 4 * training.model.num_weights if training.copies_start else 0}
    if training.optimizer.paged:
        host["paged optimizer states"] = always.pop("optimizer states")
    moments = {name: always | held for name, held in _moments(training).items()}
    sizes = {name: sum(held.values()) for name, held in moments.items()}
    largest = max(sizes, key=lambda name: sizes[name])
    device, host = ({what: size for what, size in held.items() if size} for held in (moments[largest], host))
    return Plan(largest, device, host, sizes)


def _moments(training: Training) -> dict[str, dict[str, int]]:
    gradients, held = training.width * footprint.local_weights(training), footprint.activation_bytes(training)
    forward, backward = footprint.logit_bytes(training)
    head, layers, layer = footprint.cast_bytes(training)
    one = footprint.layer_bytes(training)
    moments = {
        "forward": {
            "gradients": gradients,
            "activations": held,
            "cast weights": head + layers,
            "logits": forward,
        },
        "backward": {
            "gradients": gradients if training.accumulates else 0,
            "activations": held,
            "cast weights": layers if training.chunked_loss else head + layers,
            "logits": backward,
        },
        "layers": {
            "gradients": gradients if training.accumulates else footprint.head_gradient_bytes(training),
            "activations": held - footprint.behind_bytes(training),
            "cast weights": layers,
            "a layer's backward pass": footprint.backward_bytes(training) + (one if training.checkpointing else 0),
        },
        "last": {
            "gradients": gradients if training.accumulates else gradients - footprint.late_gradient_bytes(training),
            "activations": one,
            "cast weights": layer,
            "a layer's backward pass": footprint.backward_bytes(training),
        },
        "step": {"gradients": gradients, "working copies of the step": footprint.step_bytes(training)},
    }
    if training.scores:
        scored = footprint.scoring_bytes(training)
        moments["scoring"] = {"gradients": gradients, "cast weights": head, "a scored batch": scored}
    return moments
