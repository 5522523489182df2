"""Peak memory of a training: the parts of ``footprint``, summed at each possible peak of Lightning's step.

A step of Lightning runs the forward pass, releases the gradients of the previous step, and runs the backward pass and
the optimizer. Memory can peak at the following moments, at all of which weights and optimizer states are held:

forward     end of the forward pass: previous gradients, activations, logits
backward    start of the backward pass: activations, logits and their gradients; gradients of the weights only if they
            are accumulated
layers      start of the layers' backward pass: all activations of the layers, the gradient of the head
last        backward pass of the model's first layer: gradients of all other weights, activations of this layer
step        optimizer step: all gradients, temporary copies
evaluation  evaluation of the languages between steps: the last gradients, a batch without gradients
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
    "evaluation": "the evaluation of a language",
}


@dataclass(frozen=True)
class Plan:
    """Bytes on one device at the peak, and bytes on the host, by purpose.

    Attributes:
        moment: the moment of the peak, a key of ``MOMENTS``.
        device: purpose -> bytes on one device at the peak.
        host: purpose -> bytes in the CPU's memory, per process.
        moments: moment -> bytes on one device.
    """

    moment: str
    device: dict[str, int]
    host: dict[str, int]
    moments: dict[str, int] = field(default_factory=dict)

    @property
    def num_bytes(self) -> int:
        """Bytes on the device at the peak."""
        return sum(self.device.values())


def plan(training: Training) -> Plan:
    """The peak memory of a training on each device, by purpose."""
    always = {
        "weights": training.width * footprint.local_weights(training),
        "optimizer states": footprint.state_bytes(training),
        "guard": footprint.guard_bytes(training),
        "gradient buckets": footprint.bucket_bytes(training),
        "gathered layers": footprint.gathered_bytes(training),
    }
    host = {
        "start of WeightDiff": 4 * training.model.num_weights if training.copies_start else 0,
        "average of the weights": training.width * training.model.num_weights if training.averages else 0,
    }
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
            "activations": held - footprint.after_layers_bytes(training),
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
    if training.evaluates:
        evaluated = footprint.evaluation_bytes(training)
        moments["evaluation"] = {"gradients": gradients, "cast weights": head, "an evaluated batch": evaluated}
    return moments
