"""The group ``job``: the order of the work, and what only that job needs."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StrictStr

from lightning_langcore.jobs.config.groups.base import (
    Count,
    CountOrZero,
    Expected,
    Flag,
    Fraction,
    Group,
    Number,
    Numbers,
    Texts,
    Whole,
    each_once,
    one_or_more,
)
from lightning_langcore.regions.perturbation import METHODS, Method

_PERTURBATIONS = (
    f"a list with method ({', '.join(METHODS)}) and, except for zero, a finite strength, as"
    " [{method: reinit, strength: 2.0}, {method: zero}], at least one and each once"
)


_OBJECTIVE = re.compile(r"(nats_per_token|ppl|bits_per_byte)/(validation|test)(_answers)?(/[^/]+)?")


def _objective(value: str) -> str:
    if not _OBJECTIVE.fullmatch(value):
        raise ValueError("no objective")
    return value


Objective = Annotated[
    StrictStr,
    AfterValidator(_objective),
    Expected(
        "METRIC/SPLIT or METRIC/SPLIT/LANGUAGE with METRIC nats_per_token, ppl or bits_per_byte and SPLIT validation or"
        " test (with task=sft also validation_answers or test_answers)"
    ),
]


class GridPerturbation(Group):
    """A perturbation of the grid of ``job=perturb``."""

    method: Method = Field(description="what is done to the region's weights")
    strength: Number | None = Field(
        None, description="multiple of the standard deviation (reinit), factor (scale), value (set); none for zero"
    )


def _each_with_its_strength(entries: list[GridPerturbation]) -> list[GridPerturbation]:
    if any((entry.method == "zero") != (entry.strength is None) for entry in entries):
        raise ValueError("strength")
    return one_or_more(entries)


class FitJob(Group):
    """Train once; if a perturbation is chosen, perturb the region first."""

    name: Literal["fit"] = Field(description="the job")
    milestones: Annotated[list[CountOrZero], Expected("a list of whole numbers, 0 or more")] = Field(
        description="numbers of training documents after which all languages are evaluated, in addition to the end"
    )
    ckpt_path: Annotated[StrictStr | None, Expected("auto, null, or a checkpoint")] = Field(
        description="auto: resume from the last complete checkpoint in the run folder if there is one; a file or a"
        " folder of shards: resume from it; null: start from the beginning"
    )
    save_model: Flag = Field(description="save the trained model and its tokenizer to `model/` in the run folder")
    objective: Objective = Field(
        description="what a run returns to a sweeper that searches settings, less is better: metric and split of the"
        " final evaluation, and a language or the mean over all, as nats_per_token/validation or ppl/test/zh"
    )


class LocateJob(Group):
    """Locate the region: by training on each language, by passes over its text, or from models on disk."""

    name: Literal["locate"] = Field(description="the job")
    source: Literal["text", "checkpoints"] = Field(
        description="text: record what `region.score` needs; checkpoints: compare models on disk, without running them"
    )
    base: Annotated[StrictStr | None, Expected("null, or a folder")] = Field(
        description="for checkpoints: folder of the base model"
    )
    trained: Annotated[dict[str, str] | None, Expected("null, or folders by language, as {zh: FOLDER}")] = Field(
        description="for checkpoints: folders of the models trained from it, by language"
    )
    scores: Annotated[
        list[StrictStr], AfterValidator(each_once), Expected("a list of scores, as [taylor, fisher], each once")
    ] = Field(description="further scores whose core ends are located; magnitude is always located")
    single_languages: Flag = Field(
        description="also locate regions of single languages: core ends, monolingual regions, `region.families`, and"
        " their overlaps"
    )
    union_thresholds: Annotated[
        list[Number], AfterValidator(each_once), Expected("a list of relative changes, as [0.01], each once")
    ] = Field(
        description="relative changes for the union table: share of the weights that change by more in at least one"
        " language; 0.01 = 1 %"
    )


class PerturbJob(Group):
    """Perturb one region at a time, evaluate all languages, restore the model: a grid; nothing is trained."""

    name: Literal["perturb"] = Field(description="the job")
    variants: Annotated[Texts, Expected("a list of regions, as [core, random], at least one and each once")] = Field(
        description="regions: the kinds of `region.kind`, each also with the suffix -outliers: without the"
        " massive-activation dimensions and super weights of the model"
    )
    fractions: Annotated[
        list[Fraction],
        AfterValidator(one_or_more),
        Expected("a list of shares of the candidates in (0, 1], as [0.01, 0.05], at least one and each once"),
    ] = Field(description="sizes of the regions as shares of the candidates, each in (0, 1]")
    seeds: Annotated[
        list[Whole], AfterValidator(one_or_more), Expected("a list of whole numbers, at least one and each once")
    ] = Field(description="seeds of the noise, of random regions and for breaking ties")
    perturbations: Annotated[
        list[GridPerturbation], AfterValidator(_each_with_its_strength), Expected(_PERTURBATIONS)
    ] = Field(description="perturbations of each region: method and strength as in the group `perturbation`")


class PerturbDimensionJob(Group):
    """Set or scale one norm dimension or weight at a time, evaluate, generate, restore; nothing is trained."""

    name: Literal["perturb_dimension"] = Field(description="the job")
    targets: Annotated[
        Literal["auto"] | Texts, Expected("auto, or a list of weights as NAME[INDEX], at least one and each once")
    ] = Field(
        description="auto: the massive-activation dimensions and super weights of the model (`region.outliers`), each"
        " with a control drawn from the seed; or a list of weights, as NAME[INDEX] or NAME[ROW,COLUMN]"
    )
    num_dimensions: Count = Field(
        description="for auto: maximum number of dimensions in each norm; if none is massive, the one with the largest"
        " ratio is used"
    )
    num_weights: Count = Field(
        description="for auto: maximum number of super weights; if there is none, the best candidate is used"
    )
    norms: Annotated[Texts, Expected("a list of names or patterns, at least one and each once")] = Field(
        description="for auto: the norms whose dimensions are changed, as names or shell patterns"
    )
    set: Numbers = Field(description="values to which the weight is set, for table and plot")
    scale: Numbers = Field(description="factors by which the weight is multiplied")
    grid: Numbers = Field(description="further values to which the weight is set, for the plot")
    prompts: Annotated[Texts | None, Expected("null, or a list of texts, at least one and each once")] = Field(
        description="prompts to be continued; null: at most the first half of a test document of each of up to three"
        " languages"
    )
    num_new_tokens: Count = Field(description="number of tokens to generate after each prompt, by greedy decoding")


class PretrainBaseJob(Group):
    """Train or find the small default base model, and compare it with n-gram models on the test text."""

    name: Literal["pretrain_base"] = Field(description="the job")


Job = FitJob | LocateJob | PerturbJob | PerturbDimensionJob | PretrainBaseJob
JOBS: dict[str, type[Job]] = {
    "fit": FitJob,
    "locate": LocateJob,
    "perturb": PerturbJob,
    "perturb_dimension": PerturbDimensionJob,
    "pretrain_base": PretrainBaseJob,
}
"""The class of each ``job.name``; the job itself is the module of that name in :mod:`lightning_langcore.jobs`."""
