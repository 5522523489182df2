"""The groups ``region`` and ``perturbation``: which weights, and what happens to them before the first step."""

from typing import Annotated, Literal

from pydantic import Field, StrictStr

from lightning_langcore.importance.selectors import Granularity, Scope
from lightning_langcore.jobs.config.groups.base import (
    Count,
    Expected,
    Fraction,
    Group,
    Languages,
    Number,
    Patterns,
    Positive,
    Text,
    Whole,
)
from lightning_langcore.jobs.config.groups.recipe import Recipe


class OutlierCriteria(Group):
    """Criteria of the outliers: massive activations and super weights."""

    magnitude: Positive = Field(description="massive activation: larger than this")
    ratio: Positive = Field(description="massive activation: at least this many times the median of its hidden state")
    spike: Positive = Field(
        description="super weight: spikes of at least this many times the median in the input and the output of a"
        " down_proj"
    )


class LocateRecipe(Recipe):
    """Statistics recorded for each language from the base: continued pretraining, or passes over as much text."""

    languages: Languages = Field(
        description="languages whose statistics are summed; null: those of es ru ar zh ko vi that the data has; at"
        " least three"
    )
    tokens: Count = Field(description="tokens per language")


class RegionSettings(Group):
    """The weights that are perturbed, guarded and measured."""

    kind: Text = Field(
        description="core, peripheral (the other end of the score), random (control), file, a score (its core end),"
        " matched (magnitude-matched control), language:zh, mono:zh (in the core of no other language), family:NAME, or"
        " a registered kind; all but file also with the suffix -outliers: without the outliers"
    )
    score: Text = Field(
        description="importance score: weight_change, relative_change (by training), taylor, taylor_per_batch, fisher,"
        " wanda (by passes over text), magnitude, random (controls), or a registered score"
    )
    fraction: Fraction = Field(description="share of the candidates, in (0, 1]")
    granularity: Granularity = Field(
        description="element: single weights; row, column: whole rows or columns of each matrix, by the mean score of"
        " their weights"
    )
    scope: Scope = Field(
        description="tensor: the fraction of each matrix; model: the fraction of all candidates, by one threshold"
    )
    parameters: Patterns = Field(description="shell patterns of candidate parameters; null: the matrices of the layers")
    seed: Whole = Field(description="seed of the random region and of the order of ties")
    file: Annotated[StrictStr | None, Expected("null, or a region file")] = Field(
        description="the region's file; every kind but `file` makes its own"
    )
    families: Annotated[
        dict[str, list[str]] | None, Expected("null, or a list of languages by name, as {romance: [es, fr]}")
    ] = Field(description="language families for family:NAME")
    memory: Count = Field(
        description="bytes of accumulators that passes over text may hold at once; more parameters take more passes"
    )
    outliers: OutlierCriteria
    recipe: LocateRecipe


class Perturbation(Group):
    """What happens to the region before step 0."""

    method: Literal["none", "reinit", "zero", "scale", "set"] = Field(
        description="none; reinit: w <- mean(W) + strength x std(W) x noise, with the statistics of the intact matrix;"
        " zero; scale: multiply; set: set to one value"
    )
    strength: Annotated[Number | None, Expected("a finite number")] = Field(
        None, description="multiple of the matrix's standard deviation (reinit), factor (scale), or value (set)"
    )
    seed: Whole = Field(0, description="seed of the noise")
