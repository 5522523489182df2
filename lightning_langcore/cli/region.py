"""``langcore region ...``: show the contents of region files, combine regions by set algebra, measure their overlap."""

import argparse
import ast
import keyword
import math
import operator
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from lightning_langcore import plots
from lightning_langcore.regions.overlap import Overlap, jaccard_matrix, overlaps, write_csv
from lightning_langcore.regions.region import Region
from lightning_langcore.utils.errors import LangcoreError
from lightning_langcore.utils.progress import say
from lightning_langcore.utils.tables import console, plain_text

OPERATORS = {ast.BitOr: operator.or_, ast.BitAnd: operator.and_, ast.Sub: operator.sub}
ADVICE = "only names, |, & and -, and brackets are allowed; a name must be a Python name, or be given as NAME=FILE"
CHOICE = ("kind", "score", "fraction", "granularity", "scope")
ORIGIN = ("num_ties", "languages", "base_model")
FACTS = ("file", *CHOICE, "weights", "candidates", "ties", "languages", "base model")
COMBINE_HELP = """Write the region that an expression over regions defines.

  core | outliers             in either
  core & outliers             in both
  core - outliers             in the first only
  (core | random) - outliers  brackets

As in Python, - comes before &, and & before |: a | b & c - d is
a | (b & (c - d)).

A name refers to the file of NAME=FILE if given, else to NAME.safetensors in one
of the --in folders; language/zh.safetensors of a run is found as zh with
--in RUN/language, or as zh=RUN/language/zh.safetensors.
"""


def main(arguments: Sequence[str]) -> None:
    """Run ``langcore region``; an error that the user can fix is printed as a message, with exit status 1."""
    parser = argparse.ArgumentParser(prog="langcore region", description="Show, combine and compare region files.")
    parser.add_argument("command", choices=COMMANDS, help="COMMAND -h shows its arguments")
    command = COMMANDS[parser.parse_args(arguments[:1]).command]
    try:
        command(arguments[1:])
    except RecursionError:
        sys.exit("error: the expression has too many parts: combine it in steps")
    except (LangcoreError, OSError) as error:
        sys.exit(f"error: {error}")


def _show(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="langcore region show", description="Show the contents of region files.")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument(
        "--by-parameter", action="store_true", help="also one row per candidate parameter: weights, share"
    )
    options = parser.parse_intermixed_args(arguments)
    facts, by_parameter = [], []
    for file in options.files:  # one region in memory at a time
        region = Region.load(file)
        facts.append(_facts(file, region))
        if options.by_parameter:
            by_parameter.append(_by_parameter(file, region))
    out = console()
    num_columns = max(1, (out.width - 14) // 22)  # one column per file: a row per file would not fit a terminal
    for start in range(0, len(facts), num_columns):
        header, *rows = zip(FACTS, *facts[start : start + num_columns], strict=True)
        out.print(_table(header, [], rows))
    for table in by_parameter:
        out.print(table)


def _facts(file: Path, region: Region) -> list[str]:
    """The text of each row of ``FACTS``."""
    sizes = [f"{len(region):,} ({region.fraction:.3%})", f"{region.num_candidates:,}"]
    choice, origin = ([_text_of(region.meta.get(key)) for key in keys] for keys in (CHOICE, ORIGIN))
    return [str(file), *choice, *sizes, *origin]


def _by_parameter(file: Path, region: Region) -> Table:
    """Number and share of weights in the region for each candidate parameter, empty ones included."""
    sizes = {name: (len(region.parts.get(name, ())), math.prod(shape)) for name, shape in region.shapes.items()}
    rows = [(name, f"{held:,}", f"{held / max(1, numel):.3%}") for name, (held, numel) in sizes.items()]
    return _table(["parameter"], ["weights", "share"], rows, title=str(file))


def _combine(arguments: Sequence[str]) -> None:
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="langcore region combine", description=COMBINE_HELP, formatter_class=style)
    parser.add_argument("expression", metavar="EXPRESSION", help="in quotes, because the shell interprets | and &")
    parser.add_argument("named", nargs="*", metavar="NAME=FILE", help="a name for a file")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT", help="the new region file")
    where = "a folder to search for NAME.safetensors, by default the current one; may be repeated"
    parser.add_argument("--in", type=Path, action="append", dest="folders", metavar="FOLDER", help=where)
    parser.add_argument("--force", action="store_true", help="replace OUT if it exists")
    options = parser.parse_intermixed_args(arguments)
    if options.output.exists() and not options.force:
        raise LangcoreError(f"{options.output} exists: choose another -o, or replace it with --force")
    tree = parse(options.expression)
    files = _find(list(names(tree)), _aliases(options.named), options.folders or [Path()])
    regions = {name: Region.load(file) for name, file in files.items()}
    result, models = evaluate(tree, regions), [region.meta.get("base_model") for region in regions.values()]
    result.meta = {"kind": ast.unparse(tree), "files": {name: str(file) for name, file in files.items()}}
    if all(model == models[0] for model in models):
        result.meta["base_model"] = models[0]
    result.save(options.output)
    listed = [(name, files[name], region) for name, region in regions.items()]
    listed.append((result.meta["kind"], options.output, result))
    rows = [(name, str(file), f"{len(region):,}", f"{region.fraction:.3%}") for name, file, region in listed]
    console().print(_table(["region", "file"], ["weights", "share"], rows))
    if not len(result):
        say(f"{result.meta['kind']} is empty: {options.output} holds no weight")


def parse(expression: str) -> ast.expr:
    """The syntax tree of an expression of names, ``|``, ``&`` and ``-``; nothing is executed.

    Raises:
        LangcoreError: the expression has a syntax error, or an element other than these; the message names the element.
    """
    try:
        tree = ast.parse(expression.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError) as error:
        why = error.msg if isinstance(error, SyntaxError) else error
        raise LangcoreError(f"the expression {expression!r} can't be read ({why}): {ADVICE}") from error
    for _ in names(tree):
        pass
    return tree


def names(tree: ast.expr) -> Iterator[str]:
    """The names in an expression, from left to right, with repetitions.

    Raises:
        LangcoreError: an element is neither a name nor one of the three operators.
    """
    if isinstance(tree, ast.Name):
        yield tree.id
    elif isinstance(tree, ast.BinOp) and type(tree.op) in OPERATORS:
        yield from names(tree.left)
        yield from names(tree.right)
    else:
        raise LangcoreError(f"{ast.unparse(tree)!r} in the expression: {ADVICE}")


def evaluate(tree: ast.expr, regions: Mapping[str, Region]) -> Region:
    """The region that an expression of :func:`parse` defines.

    Args:
        tree: the expression.
        regions: the region of each name.

    Raises:
        LangcoreError: two regions belong to different models.
    """
    if isinstance(tree, ast.Name):
        return regions[tree.id]
    assert isinstance(tree, ast.BinOp)
    one, other = evaluate(tree.left, regions), evaluate(tree.right, regions)
    try:
        combined: Region = OPERATORS[type(tree.op)](one, other)
    except LangcoreError as error:
        raise LangcoreError(f"{ast.unparse(tree)}: {error}") from error
    return combined


def _aliases(arguments: Sequence[str]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for argument in arguments:
        name, _, file = argument.partition("=")
        if not file:
            raise LangcoreError(f"{argument} is not NAME=FILE (each further folder needs its own --in)")
        if not name.isidentifier() or keyword.iskeyword(name):
            raise LangcoreError(f"{argument}: {name!r} is no Python name, so it can't be used in an expression")
        if name in found:
            raise LangcoreError(f"{name}= is given twice")
        found[name] = Path(file)
    return found


def _find(expression_names: Sequence[str], aliases: Mapping[str, Path], folders: Sequence[Path]) -> dict[str, Path]:
    """The file of each name of the expression.

    Raises:
        LangcoreError: a folder does not exist, a name has no file or several, or an alias is not in the expression.
    """
    for folder in folders:
        if not folder.is_dir():
            raise LangcoreError(f"--in {folder}: there is no such folder")
    for name in [name for name in aliases if name not in expression_names]:
        raise LangcoreError(f"{name}={aliases[name]} is given, but the expression has no {name}")
    unique = dict.fromkeys(expression_names)
    return {name: aliases[name] if name in aliases else _in_folders(name, folders) for name in unique}


def _in_folders(name: str, folders: Sequence[Path]) -> Path:
    found = {file.resolve(): file for folder in folders if (file := folder / f"{name}.safetensors").is_file()}
    if len(found) > 1:
        raise LangcoreError(f"{name} may be {' or '.join(map(str, found.values()))}: choose one with {name}=FILE")
    if not found:
        raise LangcoreError(
            f"there is no region {name}: no {name}.safetensors in {', '.join(map(str, folders))};"
            f" give {name}=FILE, or its folder with --in"
        )
    return next(iter(found.values()))


def _overlap(arguments: Sequence[str]) -> None:
    about = "Overlap of each pair of regions, and the overlap by chance: overlap.csv and overlap.png."
    parser = argparse.ArgumentParser(prog="langcore region overlap", description=about)
    named = "a region, named after its file, with as many parent folders as are needed to make the names unique"
    parser.add_argument("files", nargs="+", metavar="[NAME=]FILE", help=named)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER", help="for the table and the plot")
    options = parser.parse_intermixed_args(arguments)
    files = labels(options.files)
    rows = overlaps({name: Region.load(file) for name, file in files.items()})
    shown, values, chance = jaccard_matrix(rows)
    label = f"Jaccard overlap (by chance {chance:.3f})"
    plots.pair_heatmap(values, shown, shown, options.output / "overlap.png", "Overlap of regions", label, text="{:.3f}")
    write_csv(rows, options.output / "overlap.csv")
    console().print(_overlap_table(rows))


def labels(arguments: Sequence[str]) -> dict[str, Path]:
    """The file of each ``FILE`` or ``NAME=FILE``, by name.

    A file without a name is named after its stem; equal names are extended by parent folders until they differ. An
    argument with ``=`` is a file if such a file exists, or if the part before ``=`` has a slash, as in
    ``runs/seed=0/core.safetensors``.

    Raises:
        LangcoreError: a name is given twice, or the same file twice without names.
    """
    given, files = [], []
    for argument in arguments:
        name, _, file = argument.partition("=")
        is_named = file and "/" not in name and not Path(argument).is_file()
        given.append(name if is_named else "")
        files.append(Path(file) if is_named else Path(argument))
    parts = [(*file.absolute().parent.parts[1:], file.stem) for file in files]
    depth = [1] * len(files)
    while True:
        called = [name or "/".join(own[-used:]) for name, own, used in zip(given, parts, depth, strict=True)]
        twice = {name for name, count in Counter(called).items() if count > 1}
        short = [i for i, name in enumerate(called) if name in twice and not given[i] and depth[i] < len(parts[i])]
        if not short:
            break
        for i in short:
            depth[i] += 1
    if twice:
        raise LangcoreError(f"two regions are called {min(twice)}: give each file once, and other names with NAME=FILE")
    return dict(zip(called, files, strict=True))


def _overlap_table(rows: Sequence[Overlap]) -> Table:
    """One row per pair of regions: shared weights, Jaccard overlap, chance, and the share of either region."""
    by_pair = {(row.one, row.other): row for row in rows}
    table_rows = []
    while by_pair:
        row = by_pair.pop(next(iter(by_pair)))
        reverse = by_pair.pop((row.other, row.one))
        shares = (f"{row.share_of_one:.1%}", f"{reverse.share_of_one:.1%}")
        table_rows.append(
            (row.one, row.other, f"{row.num_shared:,}", f"{row.jaccard:.3f}", f"{row.chance:.3f}", *shares)
        )
    return _table(["one", "other"], ["shared", "Jaccard", "chance", "of one", "of other"], table_rows)


def _table(texts: Sequence[str], numbers: Sequence[str], rows: Iterable[Sequence[str]], title: str = "") -> Table:
    """A table of text columns, wrapped where they are too wide, then columns of numbers."""
    table = Table(title=plain_text(title) if title else None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for text in texts:
        table.add_column(plain_text(text), overflow="fold")
    for number in numbers:
        table.add_column(number, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*map(plain_text, row))
    return table


def _text_of(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "–" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


COMMANDS = {"show": _show, "combine": _combine, "overlap": _overlap}
