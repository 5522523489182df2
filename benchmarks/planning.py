"""Planned and measured memory of small trainings under Lightning, in one CPU process.

    python benchmarks/planning.py

Measured is the peak of all storages that operations have made and that are still alive: weights, gradients, optimizer
states, activations, temporaries. The tests compare the same trainings with the plan (``tests/support/planning.py``).
"""

import argparse
import sys

import torch
from result_files import ROOT, Table, add_results_option, write_result

from lightning_langcore.jobs.steps.trainer import quiet
from lightning_langcore.training.memory.planner import plan

sys.path.append(str(ROOT))
from tests.support.planning import CASES, case, fit


def main() -> None:
    """Print the table and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_results_option(parser)
    options = parser.parse_args()
    torch.set_num_threads(1)
    quiet()
    columns = {"planned, MiB": "{:.2f}", "measured, MiB": "{:.2f}", "planned / measured": "{:.3f}"}
    table = Table({"training": "{}", **columns})
    print(table.head())
    for name in CASES:
        config, planned = case(name)
        measured, expected = fit(config, planned)[0], plan(planned).num_bytes
        print(table.add(name, expected / 2**20, measured / 2**20, expected / measured), flush=True)
    write_result("planning", {"planning": table}, options.results, seeds=[0])


if __name__ == "__main__":
    main()
