"""The command line: ``python train.py ...`` in a clone, ``langcore ...`` anywhere.

What a subcommand needs is imported when it is called: a list of the experiments must not wait for PyTorch.
"""

import sys
from collections.abc import Iterator
from importlib import import_module, resources
from importlib.resources.abc import Traversable

SUBCOMMANDS = ("plan", "region", "report")
"""Each is a file beside this one, with ``main(arguments)``; other arguments are those of a run."""

USAGE = """usage: langcore +experiment=NAME [group=choice | key=value ...]     run one; -m for a sweep
       langcore report FOLDER [FOLDER ...] [-o FILE]                one HTML page from run folders
       langcore region show|combine|overlap ...                     what region files hold, set algebra, overlap; try -h
       langcore plan [group=choice | key=value ...]                 the memory that a training will need; try -h

experiments:"""
MORE = """
A group=choice takes a file of conf/group, a key=value changes one setting of it. With --cfg job the composed
configuration of a run is printed and nothing is run; --hydra-help lists Hydra's own flags."""


def main(config_path: str = "pkg://lightning_langcore.conf") -> None:
    """Run the command that the arguments of this process name.

    Args:
        config_path: where Hydra finds ``train.yaml``: a folder, or the package in which it is installed.
    """
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help"):
        _print_usage(with_groups=bool(arguments))
    elif arguments[0] in SUBCOMMANDS:
        import_module(f"lightning_langcore.cli.{arguments[0]}").main(arguments[1:])
    else:
        import hydra

        from lightning_langcore.cli.run import guarded_run

        hydra.main(config_path=config_path, config_name="train", version_base="1.3")(guarded_run)()


def experiments() -> dict[str, str]:
    """Name of each experiment and the first sentence of its header."""
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
    """Name and file of each choice of a group, by name."""
    for file in sorted((resources.files("lightning_langcore.conf") / group).iterdir(), key=lambda file: file.name):
        if file.name.endswith(".yaml"):
            yield file.name.removesuffix(".yaml"), file


def _header(file: Traversable) -> str:
    lines = file.read_text(encoding="utf-8").splitlines()
    comments = [line.removeprefix("# ") for line in lines if line.startswith("# ")]
    return next(line for line in comments if not line.startswith("@package"))
