"""Set or scale one norm dimension or weight, evaluate all languages, generate, and restore; nothing is trained."""

import math
import re
import time
from collections.abc import Iterator, Sequence
from itertools import groupby, product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from rich import box
from rich.markup import escape
from rich.table import Table
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lightning_langcore.data.tokenization import begin_token, encode, end_token
from lightning_langcore.importance.outliers import Outliers
from lightning_langcore.jobs.config.groups.job import PerturbDimensionJob
from lightning_langcore.jobs.config.settings import Run, Settings
from lightning_langcore.jobs.steps import outliers, prepare, texts
from lightning_langcore.jobs.steps.evaluation import add_rows, evaluate_languages, make_fabric, timed
from lightning_langcore.jobs.steps.loggers import logged
from lightning_langcore.models import loading, parameters, sharding
from lightning_langcore.plots import dimension_grid
from lightning_langcore.regions.perturbation import perturb_
from lightning_langcore.regions.region import Region
from lightning_langcore.regions.single_weight import dimension_region
from lightning_langcore.results.number_format import exp, number
from lightning_langcore.results.record import Results
from lightning_langcore.utils import tables
from lightning_langcore.utils.errors import LangcoreError
from lightning_langcore.utils.progress import track

CONTROL = "control"
BELOW = "largest, below the criterion"
_NUM_PROMPTS = 3
_PROMPT_CHARACTERS = 100
_SHOWN_LANGUAGES = 2
_GREEDY = {"do_sample": False, "num_beams": 1, "repetition_penalty": 1.0, "temperature": 1.0, "top_p": 1.0}
"""Greedy decoding; overrides the model's generation_config."""


class Target(NamedTuple):
    """One weight: its name as :func:`dimension_region` reads it, its role, its region, and its intact value."""

    name: str
    role: str
    region: Region
    value: float


class Change(NamedTuple):
    """A change of a target: ``method`` is ``set`` or ``scale``."""

    method: str
    value: float

    @property
    def text(self) -> str:
        """``=0`` or ``x4``."""
        return f"{'=' if self.method == 'set' else 'x'}{self.value:g}"


class Measurement(NamedTuple):
    """Nats per token by language and generated texts after one change; the intact model has no target or change."""

    target: Target | None
    change: Change | None
    nats: dict[str, float]
    texts: list[str]


def run(settings: Settings) -> Results:
    """Evaluate the intact base, then every change of every target; rows and generations are written one by one.

    Writes ``dimensions.csv`` (the outliers of the model), ``generations.csv`` and ``plots/dimensions.png``.

    Raises:
        LangcoreError: invalid or unsupported settings.
    """
    started = time.monotonic()
    job, output = settings.job, settings.output
    assert isinstance(job, PerturbDimensionJob)
    this = prepare.begin(settings)
    tokenizer = loading.load_tokenizer(this.base_path)
    model = loading.load_model(this.base_path, settings.model.dtype, settings.model.attention)
    model.to(make_fabric(settings.trainer).device)  # type: ignore[arg-type]
    named = _named(job, model)
    norms = [] if named else _norms(job, model)
    evaluator = _Evaluator(this, job, model, tokenizer)
    found = outliers.find(this, model, tokenizer)
    _write_found(found, output / "dimensions.csv")
    targets = [_target(model, *each) for each in named or _auto(job, settings.seed, norms, model, found)]
    evaluator.results.notes = [outliers.summary(found)]
    results = evaluator.results
    with logged(settings, "perturb_dimension", results):
        evaluator.measure(None, None)
        for target, change in track(list(product(targets, _changes(job))), "perturbing", unit="changes"):
            with timed(results.seconds, "perturbing"):
                undo = perturb_(model, target.region, change.method, change.value)  # type: ignore[arg-type]
            try:
                evaluator.measure(target, change)
            finally:
                with timed(results.seconds, "perturbing"):
                    undo.restore()
        results.status = "completed"
    results.seconds["total"] = time.monotonic() - started
    results.write()
    dimension_grid([results], output / "plots" / "dimensions.png", {target.name: target.role for target in targets})
    _print(evaluator.measurements, evaluator.prompts[0], {Change("set", float(value)) for value in job.set})
    return results


class _Evaluator:
    """Evaluates the current model, generates with it, and writes both results."""

    def __init__(
        self, this: Run, job: PerturbDimensionJob, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
    ) -> None:
        settings = this.settings
        self.seed = settings.seed
        self.num_new_tokens = job.num_new_tokens
        self.model = model
        self.tokenizer = tokenizer
        self.fabric = make_fabric(settings.trainer)
        self.loaders = texts.make_datamodule(this.settings, this.source, tokenizer).eval_loaders()["test"]
        self.prompts = list(job.prompts or _default_prompts(this))
        self.ids = [[begin_token(tokenizer), *next(encode([prompt], tokenizer))] for prompt in self.prompts]
        longest = max(map(len, self.ids)) + job.num_new_tokens
        if longest > getattr(model.config, "max_position_embeddings", longest):
            raise LangcoreError(f"job.num_new_tokens: with the longest prompt {longest} tokens, too many for the model")
        self.measurements: list[Measurement] = []
        about = {"name": settings.model.name, "num_weights": sum(p.numel() for p in model.parameters())}
        self.results = Results(settings.output, experiment=settings.name, seed=settings.seed, model=about)
        self.results.seconds = {"evaluating": 0.0, "generating": 0.0, "perturbing": 0.0}

    def measure(self, target: Target | None, change: Change | None) -> None:
        """Evaluate and generate with the current model, and write all rows and generations."""
        about: dict[str, Any] = {"stage": "base", "seed": self.seed}
        if target and change:
            about |= {"stage": "perturbed", "variant": target.name, "method": change.method, "strength": change.value}
        with timed(self.results.seconds, "evaluating"):
            figures = evaluate_languages(self.model, self.loaders, self.fabric)
        with timed(self.results.seconds, "generating"):
            texts = [self._generate(ids) for ids in self.ids]
        add_rows(self.results, figures, **about)
        nats = {language: row["nats_per_token"] for language, row in figures.items()}
        self.measurements.append(Measurement(target, change, nats, texts))
        self.results.write()
        _write_generations(self.measurements, self.prompts, self.results.folder / "generations.csv")

    def _generate(self, ids: list[int]) -> str:
        """The greedy continuation, special tokens included."""
        prompt = torch.tensor([ids], device=self.model.device)
        pad = self.tokenizer.pad_token_id
        with self.fabric.autocast(), parameters.evaluation_mode(self.model):
            generated = self.model.generate(  # type: ignore[operator]
                input_ids=prompt,
                attention_mask=torch.ones_like(prompt),
                max_new_tokens=self.num_new_tokens,
                pad_token_id=end_token(self.tokenizer) if pad is None else pad,
                **_GREEDY,
            )
        return str(self.tokenizer.decode(generated[0, len(ids) :], clean_up_tokenization_spaces=False))


def _default_prompts(this: Run) -> list[str]:
    """At most the first half of the first test document of each of up to three languages."""
    splitter, source = texts.make_splitter(this.settings), this.source
    languages = (this.settings.data.eval_languages or source.languages)[:_NUM_PROMPTS]
    first = [next(splitter.texts(source, language, "test")) for language in languages]
    halves = (text[: min(len(text) // 2, _PROMPT_CHARACTERS)] for text in first)
    return [(half.rsplit(None, 1) or [text])[0] for half, text in zip(halves, first, strict=True)]


def _changes(job: PerturbDimensionJob) -> list[Change]:
    values = sorted({float(value) for value in (*job.set, *job.grid)})
    return [*(Change("set", value) for value in values), *(Change("scale", float(value)) for value in job.scale)]


def _named(job: PerturbDimensionJob, model: PreTrainedModel) -> list[tuple[str, str]]:
    """Name and role of each listed target; empty with ``auto``.

    Raises:
        LangcoreError: the model has no such weight.
    """
    targets = [] if job.targets == "auto" else list(job.targets)
    for target in targets:
        try:
            dimension_region(model, target)
        except LangcoreError as error:
            raise LangcoreError(f"job.targets: {error}") from error
    return [(target, "named") for target in targets]


def _norms(job: PerturbDimensionJob, model: PreTrainedModel) -> list[str]:
    """The norms that match ``job.norms``, each once, in the model's order for each pattern.

    Raises:
        LangcoreError: a pattern matches no norm.
    """
    size = model.config.hidden_size
    known = [name for name, shape in parameters.named_shapes(model).items() if shape == (size,)]
    found: dict[str, None] = {}
    for pattern in job.norms:
        hits = [name for name in known if parameters.is_candidate(name, (size,), [pattern])]
        if not hits:
            raise LangcoreError(f"job.norms: {pattern} matches no norm of {size} dimensions; the first are {known[:3]}")
        found.update(dict.fromkeys(hits))
    return list(found)


def _auto(
    job: PerturbDimensionJob, seed: int, norms: Sequence[str], model: PreTrainedModel, found: Outliers
) -> Iterator[tuple[str, str]]:
    """Name and role of each outlier, or of the closest candidate, each with a control drawn from the seed."""
    rng = np.random.default_rng(seed)
    dimensions = found.dimensions[: job.num_dimensions] or found.ranking[:1]
    best = () if found.best_weight is None else (found.best_weight,)
    weights = found.super_weights[: job.num_weights] or best
    excluded = {d.dimension for d in (*found.dimensions, *dimensions)}
    excluded |= {w.row for w in (*found.super_weights, *weights)}
    others = [d for d in range(found.hidden_size) if d not in excluded]
    controls = rng.choice(others, min(len(dimensions), len(others)), replace=False)
    for norm in norms:
        for dimension in dimensions:
            yield f"{norm}[{dimension.dimension}]", "massive dimension" if dimension.layers else BELOW
        yield from ((f"{norm}[{dimension}]", CONTROL) for dimension in controls)
    shapes = parameters.named_shapes(model)
    for weight in weights:
        yield f"{weight.name}[{weight.row},{weight.column}]", "super weight" if weight.found else BELOW
        columns = [column for column in range(shapes[weight.name][1]) if column != weight.column]
        yield f"{weight.name}[{rng.choice(others)},{rng.choice(columns)}]", CONTROL


def _target(model: PreTrainedModel, name: str, role: str) -> Target:
    region = dimension_region(model, name)
    ((parameter, part),) = region.parts.items()
    weights = sharding.local(parameters.saved_parameters(model)[parameter])
    return Target(name, role, region, float(part.to(weights.device).gather(weights)))


def _write_found(found: Outliers, path: Path) -> None:
    """Write the outliers: dimensions, largest ratio first, then weights of down projections.

    ``layers``: the layers in which a dimension is massive; ``layer``: the layer in which it has its largest ratio, or
    the layer of the weight.
    """
    rows: list[list[Any]] = []
    for d in sorted({*found.dimensions, *found.ranking}, key=lambda d: (-d.ratio, d.dimension)):
        layers = " ".join(map(str, d.layers))
        figures = [f"{d.value:.6g}", f"{d.ratio:.6g}", "", ""]
        rows.append(["dimension", d.dimension, layers, d.layer, *figures, bool(d.layers)])
    for w in found.super_weights or ([found.best_weight] if found.best_weight else []):
        figures = [f"{figure:.6g}" for figure in (w.value, w.output_spike, w.input_spike, w.explained)]
        rows.append(["weight", f"{w.name}[{w.row},{w.column}]", "", w.layer, *figures, w.found])
    head = ["kind", "name", "layers", "layer", "value", "ratio", "input_ratio", "explained", "meets_criterion"]
    tables.write_csv(path, head, ([*row[:-1], str(row[-1]).lower()] for row in rows))


def _write_generations(measurements: Sequence[Measurement], prompts: Sequence[str], path: Path) -> None:
    rows: list[list[Any]] = []
    for one in measurements:
        about = [one.target.name, one.target.role] if one.target else ["base", "base"]
        about += list(one.change or ("", ""))  # type: ignore[arg-type]
        rows += [[*about, prompt, text] for prompt, text in zip(prompts, one.texts, strict=True)]
    tables.write_csv(path, ["variant", "role", "method", "strength", "prompt", "text"], rows)


def _print(measurements: Sequence[Measurement], prompt: str, sets: set[Change]) -> None:
    """Print the intact base and each target, without the values of ``job.grid`` that are not in ``job.set``."""
    languages = list(measurements[0].nats)[:_SHOWN_LANGUAGES]
    title = f"Test perplexity after changing one weight, and the continuation of: {prompt}"
    shown = Table(title=escape(title), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    shown.add_column("target, role (intact value)", overflow="fold", min_width=30)
    shown.add_column("change", no_wrap=True)
    for name in (*languages, "mean"):
        shown.add_column(name, justify="right", no_wrap=True)
    shown.add_column("text", no_wrap=True, overflow="ellipsis")
    rows = [one for one in measurements if one.change is None or one.change.method == "scale" or one.change in sets]
    for target, group in groupby(rows, lambda one: one.target):
        own = list(group)
        names = [_short(target.name), f"{target.role} ({target.value:.3g})"] if target else ["base"]
        for name, one in zip([*names, *[""] * len(own)], own, strict=False):
            nats = [*(one.nats[language] for language in languages), math.fsum(one.nats.values()) / len(one.nats)]
            text = escape(" ".join(one.texts[0].split())[:40])
            shown.add_row(name, one.change and one.change.text, *(number(exp(value)) for value in nats), text)
        shown.add_section()
    tables.console().print(shown)


def _short(name: str) -> str:
    """``model.layers.1.mlp.down_proj.weight[3,4]`` -> ``layers.1.down_proj[3,4]``, to fit the table."""
    return re.sub(r"^model\.|(mlp|self_attn)\.|\.weight(?=\[)", "", name)
