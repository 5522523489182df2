"""The command line: ``python train.py ...`` in a clone, ``langcore ...`` anywhere.

The imports of a subcommand are made when it is called, so that listing the experiments does not import PyTorch.
"""

import os
import sys
from collections.abc import Iterator
from importlib import import_module, resources
from importlib.resources.abc import Traversable

SUBCOMMANDS = ("plan", "region", "report")
"""Each is a module of this package with ``main(arguments)``. Any other arguments are those of a run."""

USAGE = """usage: langcore +experiment=NAME [group=choice | key=value ...]     run an experiment; -m for a sweep
       langcore report FOLDER [FOLDER ...] [-o FILE]                one HTML page from run folders
       langcore region show|combine|overlap ...                     contents, set algebra and overlap of regions; try -h
       langcore plan [group=choice | key=value ...]                 the memory that a training needs; try -h

experiments:"""
MORE = """
A group=choice selects a file of conf/group, a key=value changes one setting. --cfg job prints the composed
configuration of a run without running it; --hydra-help lists Hydra's own flags."""


def main(config_path: str = "pkg://lightning_langcore.conf") -> None:
    """Run the command of ``sys.argv``.

    Args:
        config_path: a folder or package with ``train.yaml``, for Hydra.
    """
    try:
        _main(sys.argv[1:], config_path)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has seen enough, as in ``langcore | head -1``
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the flush at exit would fail, too
        sys.exit(141)  # as if ended by SIGPIPE


def _main(arguments: list[str], config_path: str) -> None:
    if not arguments or arguments[0] in ("-h", "--help"):
        _print_usage(with_groups=bool(arguments))
    elif arguments[0] in SUBCOMMANDS:
        import_module(f"lightning_langcore.cli.{arguments[0]}").main(arguments[1:])
    else:
        import hydra

        from lightning_langcore.cli.run import guarded_run

        hydra.main(config_path=config_path, config_name="train", version_base="1.3")(guarded_run)()


def experiments() -> dict[str, str]:
    """Name of each experiment and the first line of its header."""
    return {name: _header(file) for name, file in _choices("experiment")}


def _print_usage(with_groups: bool) -> None:
    print(USAGE)
    for name, header in experiments().items():
        print(f"  {name:20} {header}")
    if with_groups:
        print("\ngroups:")
        folders = (entry.name for entry in resources.files("lightning_langcore.conf").iterdir() if entry.is_dir())
        for group in sorted(set(folders) - {"experiment", "hydra", "__pycache__"}):
            print(f"  {group:20} {', '.join(name for name, _ in _choices(group))}")
        print(MORE)


def _choices(group: str) -> Iterator[tuple[str, Traversable]]:
    """Name and file of each choice of a group, sorted by name."""
    for file in sorted((resources.files("lightning_langcore.conf") / group).iterdir(), key=lambda file: file.name):
        if file.name.endswith(".yaml"):
            yield file.name.removesuffix(".yaml"), file


def _header(file: Traversable) -> str:
    lines = file.read_text(encoding="utf-8").splitlines()
    comments = [line.removeprefix("# ") for line in lines if line.startswith("# ")]
    return next(line for line in comments if not line.startswith("@package"))
