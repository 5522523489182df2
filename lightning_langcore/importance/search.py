"""Search for many regions at once: every tensor is read once per pass, for all queries together.

Each tensor needs its weights and one statistic per language and score; memory is a few tensors. The results of each
tensor can be cached in a folder, so that an interrupted search resumes.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from lightning_langcore.importance.scores import SCORES, RandomScores
from lightning_langcore.importance.selection import finish
from lightning_langcore.importance.selectors import Found, SelectionSpec, Selector, selector
from lightning_langcore.importance.statistics import LanguageStatistics
from lightning_langcore.regions.region import Region
from lightning_langcore.regions.weight_change import union_shares, weight_scale
from lightning_langcore.utils.atomic_files import atomic_path
from lightning_langcore.utils.errors import LangcoreError


@dataclass(frozen=True)
class Query:
    """One region to find.

    Args:
        score: a name in ``SCORES``, or ``random``.
        spec: the selection: fraction, end and so on.
        language: use only the statistics of this language; ``None``: the sum over all languages.

    Example:
        >>> from lightning_langcore import Query, SelectionSpec
        >>> core_of_zh = Query("relative_change", SelectionSpec(0.05, "lowest"), language="zh")
        >>> core_of_zh.statistic
        'change'
    """

    score: str
    spec: SelectionSpec
    language: str | None = None

    @property
    def statistic(self) -> str | None:
        """The statistic that the score needs of each language, if any."""
        return None if self.score == "random" else SCORES[self.score].statistic


@dataclass
class SearchResult:
    """Result of a search.

    Attributes:
        regions: key of the query -> region.
        unchanged: key -> parameter -> share (0..1) of weights, rows or columns that did not change at all, for scores
            of the statistic ``change``.
        union: parameter -> shares of the union table; only if thresholds were given.
    """

    regions: dict[str, Region] = field(default_factory=dict)
    unchanged: dict[str, dict[str, float]] = field(default_factory=dict)
    union: dict[str, list[float]] = field(default_factory=dict)


def locate(
    theta_0: Mapping[str, Tensor],
    language_statistics: LanguageStatistics | None,
    shapes: Mapping[str, Sequence[int]],
    queries: Mapping[str, Query],
    thresholds: Sequence[float] = (),
    others: Sequence[str] = (),
    cache: Path | None = None,
    track: Callable[[Iterable[str]], Iterable[str]] = lambda names: names,
) -> SearchResult:
    """Find the regions of all queries.

    Args:
        theta_0: the base's weights by name.
        language_statistics: per-language statistics; needed for every score except ``magnitude`` and ``random``.
        shapes: name and shape of each candidate.
        queries: key -> region to find.
        thresholds: thresholds of the union table; empty: no table.
        others: further parameters for the union table that are no candidates, such as norms.
        cache: folder for the results of each tensor, so that an interrupted search can resume; it must belong to
            exactly this search.
        track: wraps the names of a pass, to show progress.

    Raises:
        LangcoreError: a fraction that selects no weight, a broken score, a weight that is not finite.

    Example:
        >>> import torch
        >>> from lightning_langcore import CheckpointChanges, Query, SelectionSpec, Weights, candidates, locate
        >>> from transformers import LlamaConfig, LlamaForCausalLM
        >>> sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
        >>> model = LlamaForCausalLM(LlamaConfig(vocab_size=50, **sizes))
        >>> model.save_pretrained("base")
        >>> for parameter in model.parameters():  # in place of a training on Chinese
        ...     parameter.data += 0.01 * torch.randn_like(parameter)
        >>> model.save_pretrained("zh")
        >>> base = Weights("base")
        >>> shapes = candidates(base.shapes)
        >>> changes = CheckpointChanges(base, {"zh": Weights("zh")}, shapes)
        >>> core = Query("relative_change", SelectionSpec(0.25, "lowest"))
        >>> found = locate(base, changes, shapes, {"core": core})
        >>> found.regions["core"].fraction
        0.25
    """
    selectors = {key: selector(query.spec) for key, query in queries.items()}
    result = SearchResult(unchanged={key: {} for key, query in queries.items() if query.statistic == "change"})
    for number in range(max((s.num_passes for s in selectors.values()), default=1)):
        live = {key: query for key, query in queries.items() if number < selectors[key].num_passes}
        first = number == 0
        names = [*shapes, *(others if thresholds and first else ())]
        for position, name in enumerate(track(names)):
            own = live if name in shapes else {}
            tensor_pass = _TensorPass(theta_0[name], language_statistics, name, own, thresholds if first else ())
            found = _cached(cache, f"{number}-{position}", partial(tensor_pass.map, number, selectors))
            for key in own:
                selectors[key].reduce(number, name, shapes[name], found[key])
                if "still" in found[key]:
                    result.unchanged[key][name] = float(found[key]["still"])
            if "union" in found:
                result.union[name] = found["union"]["shares"].tolist()
    for key, query in queries.items():
        languages = (
            [query.language]
            if query.language
            else (language_statistics.languages if language_statistics and query.statistic else None)
        )
        about = {"score": query.score, **({"languages": languages} if languages else {})}
        result.regions[key] = finish(query.spec, selectors[key], shapes, about)
    return result


Group = tuple[str, str | None, int | None]
"""Key of queries with the same scores: name of the score, language, and seed if the score is random."""


def _group(query: Query) -> Group:
    return query.score, query.language, query.spec.seed if query.score == "random" else None


@dataclass
class _TensorPass:
    """One tensor in one pass."""

    theta_0: Tensor
    language_statistics: LanguageStatistics | None
    name: str
    queries: Mapping[str, Query]
    thresholds: Sequence[float]
    _largest: Tensor = field(init=False)
    _prepared: dict[Callable[[Tensor], Tensor], Tensor] = field(default_factory=dict)

    def map(self, number: int, selectors: Mapping[str, Selector]) -> dict[str, Found]:
        """Results of all queries for this tensor; each score is computed once and released after use."""
        groups: dict[Group, list[str]] = {}
        for key, query in self.queries.items():
            groups.setdefault(_group(query), []).append(key)
        found: dict[str, Found] = {}
        for statistic, language, values in self._statistics():
            for group, keys in groups.items():
                if self.queries[keys[0]].statistic != statistic or group[1] != language:
                    continue
                scores = self._score(group, values)
                for key in keys:
                    found[key] = selectors[key].map(number, self.name, scores)
                    if statistic == "change":
                        units = found[key].get("means", scores)  # one value per row or column if these are selected
                        unchanged = 1 - int(torch.count_nonzero(units)) / max(1, units.numel())
                        found[key]["still"] = torch.tensor(unchanged, dtype=torch.float64)
        if self.thresholds:
            shares = union_shares(self._prepare(weight_scale), self._largest, self.thresholds)
            found["union"] = {"shares": torch.tensor(shares, dtype=torch.float64)}
        return found

    def _score(self, group: Group, values: Tensor) -> Tensor:
        score, _, seed = group
        if seed is not None:
            return RandomScores({self.name: tuple(self.theta_0.shape)}, seed)[self.name]
        formula = SCORES[score]
        return formula.finish(self._prepare(formula.of_weights), values)

    def _prepare(self, of_weights: Callable[[Tensor], Tensor] | None) -> Tensor:
        """The first step of a score, which depends only on the weights, computed once for all languages."""
        if of_weights is None:
            return self.theta_0
        if of_weights not in self._prepared:
            self._prepared[of_weights] = of_weights(self.theta_0)
        return self._prepared[of_weights]

    def _statistics(self) -> Iterator[tuple[str | None, str | None, Tensor]]:
        """(statistic, language or ``None`` for the sum over languages, values); also updates the largest change."""
        yield None, None, torch.empty(0)
        needed = dict.fromkeys(query.statistic for query in self.queries.values() if query.statistic)
        for statistic in dict.fromkeys(["change", *needed]) if self.thresholds else needed:
            assert statistic is not None
            assert self.language_statistics is not None
            total = torch.zeros(())
            for number, language in enumerate(self.language_statistics.languages):
                values = self.language_statistics.statistic(language, self.name, statistic)
                yield statistic, language, values
                if self.thresholds and statistic == "change":
                    self._largest = values if number == 0 else torch.maximum(self._largest, values)
                total = values if number == 0 else total + values
            yield statistic, None, total


def _cached(folder: Path | None, key: str, compute: Callable[[], dict[str, Found]]) -> dict[str, Found]:
    """The result of ``compute``, from the folder if it was computed before."""
    if folder is None:
        return compute()
    file = folder / f"{key}.safetensors"
    if file.exists():
        try:
            stored = load_file(file)
        except SafetensorError as error:
            raise LangcoreError(f"{file} is broken: remove {folder} to begin anew ({error})") from error
        found: dict[str, Found] = {}
        for name, tensor in stored.items():
            owner, _, kind = name.rpartition("|")
            found.setdefault(owner, {})[kind] = tensor
        return found
    found = compute()
    with atomic_path(file) as temporary:
        save_file({f"{owner}|{kind}": t for owner, own in found.items() for kind, t in own.items()}, temporary)
    return found
