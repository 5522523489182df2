"""Pictures that runs have drawn: where regions lie, what they share, and what single languages and weights do."""

from collections.abc import Sequence

from lightning_langcore.reports.blocks import Block, Heading, Picture
from lightning_langcore.results.record import Results

_NAMES = ("region", "{kind}", "{kind}_lines", "{kind}_concentration", "overlap_*", "monolingual_*", "dimensions")


def regions(runs: Sequence[Results]) -> list[Block]:
    """The pictures of the first run of each kind of region that has some."""
    found: dict[str, list[Block]] = {}
    for run in runs:
        kind = str((run.region or {}).get("kind", run.experiment))
        patterns = [f"{name.format(kind=kind)}.png" for name in _NAMES]
        files = dict.fromkeys(file for name in patterns for file in sorted((run.folder / "plots").glob(name)))
        if files and kind not in found:
            found[kind] = [Heading(kind), *(Picture(f"{kind}: {file.stem}", file.read_bytes()) for file in files)]
    return [block for blocks in found.values() for block in blocks]
