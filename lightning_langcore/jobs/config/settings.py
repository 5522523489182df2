"""The settings of a run: the composed configuration, parsed once into typed, frozen groups."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import Field

from lightning_langcore.data import Source
from lightning_langcore.jobs.config.component import BASE, REGION_FILE, Component
from lightning_langcore.jobs.config.groups.base import Expected, Group, Seed, Text, component, validated
from lightning_langcore.jobs.config.groups.data import Data, Noise
from lightning_langcore.jobs.config.groups.job import JOBS, Job
from lightning_langcore.jobs.config.groups.model import Model, TrainedModel
from lightning_langcore.jobs.config.groups.region import Perturbation, RegionSettings
from lightning_langcore.jobs.config.groups.training import OptimizerSettings, Paths, Task, TrainerSettings
from lightning_langcore.jobs.config.together import raise_together
from lightning_langcore.utils.errors import LangcoreError

COMPONENTS = ("callbacks", "logger")
"""Groups that are lists of named components."""


class General(Group):
    """The settings outside of groups."""

    name: Text = Field(description="name of the experiment, in `results.json` and in the name of the run folder")
    imports: Annotated[list[str], Expected("a list of modules, as [my_scores]")] = Field(
        description="Python modules to import first, as [my_scores]; they may register scores and kinds of regions"
    )
    seed: Seed = Field(
        description="seed of the perturbation's noise, of random regions and of the data order; base and locate use"
        " `model.base.seed`"
    )


GROUPS: dict[str, type[Group]] = {
    "task": Task,
    "data": Data,
    "noise": Noise,
    "region": RegionSettings,
    "perturbation": Perturbation,
    "optimizer": OptimizerSettings,
    "trainer": TrainerSettings,
    "paths": Paths,
}


@dataclass(frozen=True)
class Invocation:
    """How the command was called.

    Args:
        overrides: its arguments, without those of Hydra itself; in a sweep those of this job.
        sweep_dir: folder of the sweep; ``None``: a single run.
        launcher: the choice of ``hydra/launcher``; ``None``: not started by Hydra.
    """

    overrides: tuple[str, ...] = ()
    sweep_dir: Path | None = None
    launcher: str | None = None

    @classmethod
    def current(cls) -> "Invocation":
        """That of this process."""
        if not HydraConfig.initialized():
            return cls()
        hydra = HydraConfig.get()
        sweep = Path(hydra.sweep.dir) if hydra.mode == RunMode.MULTIRUN else None
        return cls(tuple(hydra.overrides.task), sweep, hydra.runtime.choices.get("hydra/launcher"))


@dataclass(frozen=True)
class Settings:
    """All settings of a run, one attribute a group.

    Attributes:
        composed: the whole composition as plain, resolved containers, for records: loggers, fingerprint, recipes. Its
            references to files of the job are ``REGION_FILE`` and ``BASE``.
        invocation: how the command was called.
    """

    name: str
    imports: tuple[str, ...]
    seed: int
    job: Job
    task: Task
    model: Model | TrainedModel
    data: Data
    noise: Noise
    region: RegionSettings
    perturbation: Perturbation
    callbacks: Mapping[str, Component]
    optimizer: OptimizerSettings
    trainer: TrainerSettings
    logger: Mapping[str, Component]
    paths: Paths
    composed: Mapping[str, Any] = field(repr=False)
    invocation: Invocation

    @property
    def output(self) -> Path:
        """The run folder."""
        return Path(self.paths.output)

    @property
    def artifacts(self) -> Path:
        """The folder of what is made once and cached."""
        return Path(self.paths.artifacts)

    def callbacks_of(self, cls: type) -> list[Component]:
        """The configured callbacks of this class or a subclass of it."""
        return [callback for callback in self.callbacks.values() if callback.is_a(cls)]


@dataclass(frozen=True)
class Run:
    """A run and what its job has found: the text, the base model, and the region's file.

    Args:
        settings: the settings.
        source: the text.
        base_path: folder or hub id of the base model.
        region_file: the file of the located or given region; ``None``: there is none.
    """

    settings: Settings
    source: Source
    base_path: str
    region_file: Path | None = None


def parse(cfg: DictConfig) -> Settings:
    """The settings of a composed configuration, each checked by itself.

    Raises:
        LangcoreError: one line for each invalid setting.
    """
    _check_groups(cfg)
    composed = plain(cfg)
    name = str(composed["job"].get("name"))
    if name not in JOBS:
        raise LangcoreError(f"job.name={name} is none of {', '.join(JOBS)}")
    classes: dict[str, type[Group]] = {**GROUPS, "job": JOBS[name], "model": _model_class(composed["model"])}
    made: dict[str, Any] = {}

    def make(group: str) -> None:
        made[group] = validated(group, classes[group], _fields(group, composed))

    def make_components(group: str) -> None:
        made[group] = {name: component(f"{group}.{name}", node) for name, node in (composed[group] or {}).items()}

    def make_general() -> None:
        known = General.model_fields
        general = validated("", General, {key: composed[key] for key in known if key in composed})
        made.update({key: getattr(general, key) for key in known})

    checks = [lambda group=group: make(group) for group in classes]
    checks += [lambda group=group: make_components(group) for group in COMPONENTS]
    raise_together([make_general, *checks])
    made["imports"] = tuple(made["imports"])
    return Settings(**made, composed=composed, invocation=Invocation.current())


def plain(cfg: DictConfig) -> dict[str, Any]:
    """The composition as plain, resolved containers; references to the job's files stay references.

    Raises:
        LangcoreError: a setting without a value, or a reference to a setting that does not exist.
    """
    own = cfg.copy()
    OmegaConf.set_struct(own, False)
    file = OmegaConf.select(own, "region.file") if not OmegaConf.is_missing(own.region, "file") else "???"
    if file != "???":
        own.region.file = REGION_FILE
    own.paths.base = BASE
    try:
        resolved: Any = OmegaConf.to_container(own, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        key = str(getattr(error, "full_key", "") or "")
        if "issing mandatory value" in str(error) and key:
            raise LangcoreError(f"{key} has no value: set it with {key}=VALUE") from error
        raise LangcoreError(f"{key}: {str(error).splitlines()[0]}: set it to a value, or to another setting") from error
    resolved["region"]["file"] = file
    return {str(key): value for key, value in resolved.items()}


def _model_class(node: Mapping[str, Any]) -> type[Group]:
    return TrainedModel if "vocab_size" in node else Model


def _fields(group: str, composed: Mapping[str, Any]) -> Any:
    """The node of a group as the fields of its class: the arguments of task and trainer are in a component."""
    node = composed[group]
    inner = {"task": "module", "trainer": "trainer"}.get(group)
    if inner is None:
        return node
    known = GROUPS[group].model_fields
    return {inner: component(group, node), **{key: value for key, value in node.items() if key in known}}


def _check_groups(cfg: DictConfig) -> None:
    needed = (*GROUPS, *COMPONENTS, "job", "model")
    known = (*needed, *General.model_fields)
    given = [str(name) for name in cfg]
    errors = [f"{name} is no setting: remove it, or put it into its group" for name in given if name not in known]
    missing = [name for name in needed if name not in given]
    errors += [f"{name} is missing: leave ~{name} away, or choose one with +{name}=CHOICE" for name in missing]
    if errors:
        raise LangcoreError("\n".join(errors))


def settings_reference() -> Iterator[tuple[str, type[Group]]]:
    """Name and class of each group, for the reference of settings."""
    yield "", General
    yield from ((f"job={name}", cls) for name, cls in JOBS.items())
    yield from (("model", TrainedModel), ("model", Model))
    yield from GROUPS.items()
