"""Scores: a number for every weight. Tensors in, tensors out; and the file that collects changes over languages.

A score says at which of its ends the core lies (``CORE_END``). Changes come from continued pretraining on several
languages; their core is what changes least (Zhang et al., Unveiling Linguistic Regions in LLMs, ACL 2024).
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from lightning_langcore.files import write_safetensors
from lightning_langcore.params import rms

End = Literal["lowest", "highest"]

CORE_END: dict[str, End] = {"weight_change": "lowest", "relative_change": "lowest"}
"""Score -> the end at which the core lies."""

RELATIVE_FLOOR = 1e-3
"""Relative change divides by at least this times the tensor's root mean square: a weight near zero has no scale."""


def absolute_change(theta_0: Tensor, theta: Tensor) -> Tensor:
    """``|theta - theta_0|`` in float32, on the CPU, in the shape of the inputs."""
    return (theta.detach().to("cpu", torch.float32) - theta_0.to("cpu", torch.float32)).abs_()


def weight_scale(theta_0: Tensor) -> Tensor:
    """What a relative change divides by: ``max(|theta_0|, 1e-3 rms(theta_0))``, float32, shape of the input."""
    scale = theta_0.to("cpu", torch.float32).abs()
    floor = RELATIVE_FLOOR * rms(scale)
    return scale.clamp_(min=max(floor, torch.finfo(torch.float32).tiny))


def weight_change(theta_0: Tensor, summed_change: Tensor) -> Tensor:  # noqa: ARG001
    """``sum over languages of |theta_language - theta_0|``: end points, absolute before summing.

    Args:
        theta_0: the base's weights (not needed for this score; all change scores share one signature).
        summed_change: the sum, as :class:`Changes` keeps it.
    """
    return summed_change


def relative_change(theta_0: Tensor, summed_change: Tensor) -> Tensor:
    """``sum over languages of |theta_language - theta_0| / max(|theta_0|, 1e-3 rms(theta_0))``."""
    return summed_change / weight_scale(theta_0)


CHANGE_SCORES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "weight_change": weight_change,
    "relative_change": relative_change,
}


class Weights(Mapping[str, Tensor]):
    """The tensors of a safetensors file or of a folder saved by ``save_pretrained``, read one at a time.

    Raises:
        ValueError: there is no safetensors file, or it can't be read.
    """

    def __init__(self, path: Path | str) -> None:
        path = Path(path)
        files = [path] if path.is_file() else sorted(path.glob("*.safetensors"))
        if not files:
            raise ValueError(f"no safetensors weights at {path}: save the model with save_pretrained first")
        self._files: dict[str, Path] = {}
        for file in files:
            try:
                with safe_open(file, framework="pt") as handle:
                    self._files.update(dict.fromkeys(handle.keys(), file))
            except (SafetensorError, OSError) as error:
                raise ValueError(f"{file} is not a readable safetensors file: {error}") from error

    def __getitem__(self, name: str) -> Tensor:
        with safe_open(self._files[name], framework="pt") as handle:
            return handle.get_tensor(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


class Changes:
    """A file that collects how much each weight changed, over several languages.

    Holds for each parameter, norms included, the sum and the maximum over languages of ``|theta - theta_0|``: 8 bytes
    a weight on disk. Written tensor by tensor, so that memory stays at a few tensors; atomically.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    @property
    def languages(self) -> list[str]:
        """Languages collected so far, in the order in which they were added."""
        if not self.path.exists():
            return []
        try:
            with safe_open(self.path, framework="pt") as file:
                return list(json.loads((file.metadata() or {})["langcore_changes"])["languages"])
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{self.path} is not a file of weight changes: {error}") from error

    def add(self, language: str, shapes: Mapping[str, Sequence[int]], change: Callable[[str], Tensor]) -> None:
        """Add one language.

        Args:
            language: its code.
            shapes: name and shape of each parameter.
            change: gives ``|theta - theta_0|`` of a parameter by name, float32; called once each.

        Raises:
            ValueError: the language is in the file already, or the file holds other parameters.
        """
        languages = self.languages
        if language in languages:
            raise ValueError(f"{self.path} already holds the changes of {language!r}: remove the file to begin anew")
        old = Weights(self.path) if languages else None
        if old is not None and {key.rpartition("|")[0] for key in old} != set(shapes):
            raise ValueError(f"{self.path} holds the changes of a model with other parameters")

        def tensors() -> Iterator[Tensor]:
            for name in shapes:
                new = change(name)
                yield new if old is None else old[f"{name}|sum"] + new
                yield new if old is None else torch.maximum(old[f"{name}|max"], new)

        layout = {f"{name}|{kind}": tuple(shape) for name, shape in shapes.items() for kind in ("sum", "max")}
        metadata = {"langcore_changes": json.dumps({"languages": [*languages, language]})}
        write_safetensors(self.path, layout, tensors(), metadata)

    def summed(self) -> Iterator[tuple[str, Tensor]]:
        """Name and sum over languages of the absolute change, one parameter at a time."""
        yield from self._entries("sum")

    def largest(self) -> Iterator[tuple[str, Tensor]]:
        """Name and maximum over languages of the absolute change, one parameter at a time."""
        yield from self._entries("max")

    def _entries(self, kind: str) -> Iterator[tuple[str, Tensor]]:
        weights = Weights(self.path)
        for key in weights:
            name, _, this = key.rpartition("|")
            if this == kind:
                yield name, weights[key]


def union_table(
    changes: Changes, theta_0: Mapping[str, Tensor], thresholds: Sequence[float] = (0.01, 0.03, 0.05)
) -> dict[str, list[float]]:
    """The talk's table: per parameter the share of weights that change by more than a threshold in some language.

    Args:
        changes: the collected changes.
        theta_0: the base's weights by name.
        thresholds: relative changes, 0.01 = 1 %.

    Returns:
        Parameter name -> one share (0..1) per threshold, norms included.
    """
    table = {}
    for name, largest in changes.largest():
        relative = largest / weight_scale(theta_0[name])
        table[name] = [float((relative > t).double().mean()) for t in thresholds]
    return table
