"""The training text of a run, made and checked from the configuration."""

from typing import Any

from omegaconf import DictConfig, OmegaConf

from lightning_langcore.data import Source
from lightning_langcore.data.datamodule import check_languages, check_length, check_on_the_fly
from lightning_langcore.data.mixing import CONVERSATIONS, GENERAL, AvailableSources, make_parts
from lightning_langcore.data.noise import InstructionNoise
from lightning_langcore.data.training_text import WHOLE
from lightning_langcore.jobs.config.validators import is_finite, is_whole, make, positive, raise_together
from lightning_langcore.utils.errors import LangcoreError

SFT = "SupervisedFineTuning"


def make_source(cfg: DictConfig) -> Source:
    """The configured source of text."""
    return make(cfg.data.source)


def make_available_sources(cfg: DictConfig, source: Source) -> AvailableSources:
    """The text with its languages, the further sources, and the conversations."""
    data: Any = OmegaConf.to_container(cfg.data, resolve=True)
    return AvailableSources(
        source,
        data["languages"],
        None if cfg.data.conversations is None else make(cfg.data.conversations),
        data["general"],
        {name: make(node) for name, node in cfg.data.sources.items()},
    )


def base_languages(cfg: DictConfig, source: Source) -> list[str]:
    """The languages of the small default base model; for any other model, all languages of the data.

    Raises:
        LangcoreError: the data lacks one of them.
    """
    return check_languages("model.base.languages", cfg.model.base.get("languages"), source)


def check_text(cfg: DictConfig, source: Source) -> None:
    """Check the nodes ``data``, ``task`` and ``noise``.

    Raises:
        LangcoreError: one line for each invalid or unsupported setting.
    """
    raise_together(
        [
            *(lambda name=name: positive(f"data.{name}", cfg.data[name]) for name in ("num_tokens", "block_size")),
            *(lambda name=name: positive(f"data.{name}", cfg.data[name]) for name in ("batch_size", "num_proc")),
            *(lambda name=name: _positive_or_null(cfg, name) for name in ("mix_unit", "num_documents", "epochs")),
            lambda: check_languages("data.eval_languages", cfg.data.eval_languages, source),
            lambda: check_languages("data.general", cfg.data.general, source),
            lambda: base_languages(cfg, source),
            lambda: _parts(cfg, source),
            lambda: _repetition(cfg),
            lambda: _numbers(cfg),
            lambda: _task(cfg),
            lambda: _length(cfg),
            lambda: _on_the_fly(cfg),
        ]
    )


def _positive_or_null(cfg: DictConfig, name: str) -> None:
    if cfg.data[name] is not None:
        positive(f"data.{name}", cfg.data[name])


def _repetition(cfg: DictConfig) -> None:
    node = cfg.data.repetition
    if node is None:
        return
    if not OmegaConf.is_dict(node) or set(node) != {"max_period", "max_repeats"}:
        raise LangcoreError(f"data.repetition={node} must be null, or have max_period and max_repeats")
    positive("data.repetition.max_period", node.max_period)
    if not is_whole(node.max_repeats) or node.max_repeats < 2:
        raise LangcoreError(
            f"data.repetition.max_repeats={node.max_repeats} must be a whole number of at least 2: a span"
            " that occurs once is no repetition"
        )


def _numbers(cfg: DictConfig) -> None:
    data = cfg.data
    if not is_finite(data.max_epochs) or data.max_epochs <= 0:
        raise LangcoreError(f"data.max_epochs={data.max_epochs} must be a number above 0")
    if not is_whole(data.num_workers) or data.num_workers < 0:
        raise LangcoreError(f"data.num_workers={data.num_workers} must be a whole number of at least 0")
    for name in ("test", "validation"):
        if data.num_eval_tokens[name] is not None:
            positive(f"data.num_eval_tokens.{name}", data.num_eval_tokens[name])
        if not is_finite(data.splits[name]):
            raise LangcoreError(f"data.splits.{name}={data.splits[name]} must be a share of the documents in 0..1")


def _parts(cfg: DictConfig, source: Source) -> None:
    if cfg.data.mix is not None and not OmegaConf.is_dict(cfg.data.mix):
        raise LangcoreError(f"data.mix={cfg.data.mix} must give each entry its tokens, as {{target: 1, general: 5}}")
    if cfg.data.general is not None and GENERAL not in (cfg.data.mix or {}):
        raise LangcoreError(f"data.general={cfg.data.general} has no meaning without `general` in data.mix")
    available = make_available_sources(cfg, source)
    check_languages("data.languages", available.languages, available.conversations or source)
    make_parts(OmegaConf.to_container(cfg.data.mix, resolve=True) if cfg.data.mix is not None else None, available)  # type: ignore[arg-type]


def _length(cfg: DictConfig) -> None:
    _noise(cfg)  # first: the window is read below
    window = WHOLE if cfg.noise.inject is None else tuple(cfg.noise.window)
    check_length(cfg.data.mix, cfg.data.mix_unit, cfg.data.epochs, window)


def _on_the_fly(cfg: DictConfig) -> None:
    if not is_whole(cfg.data.shuffle_buffer) or cfg.data.shuffle_buffer < 0:
        raise LangcoreError(f"data.shuffle_buffer={cfg.data.shuffle_buffer} must be a number of documents, 0 or more")
    if cfg.data.on_the_fly:
        check_on_the_fly(cfg.noise.inject, cfg.data.conversations, cfg.data.epochs, cfg.data.num_documents)


def _task(cfg: DictConfig) -> None:
    tuning = str(cfg.task._target_).endswith(SFT)
    if tuning and cfg.data.conversations is None:
        raise LangcoreError("task=sft needs conversations: choose data=phrasebook_sft, data=sft_files or data=aya")
    if tuning and cfg.data.mix is not None and not cfg.data.mix.get(CONVERSATIONS):
        raise LangcoreError(
            f"task=sft learns from conversations, but data.mix={cfg.data.mix} has none: add conversations"
        )
    if cfg.data.conversations is not None and not tuning and cfg.job.name == "fit":
        raise LangcoreError(
            "data.conversations are trained on by task=sft: add it, or choose data without conversations"
        )


def _noise(cfg: DictConfig) -> None:
    if cfg.noise.inject is None:
        return
    noise = make(cfg.noise.inject)
    if isinstance(noise, InstructionNoise) and cfg.data.conversations is None:
        raise LangcoreError("noise=instruction changes the instructions of conversations: add task=sft and its data")
    window = list(cfg.noise.window) if OmegaConf.is_list(cfg.noise.window) else []
    if len(window) != 2 or not all(map(is_finite, window)) or not 0 <= window[0] < window[1] <= 1:
        raise LangcoreError(f"noise.window={cfg.noise.window} must be two ascending shares of the run, as [0.25, 0.5]")
