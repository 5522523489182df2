"""Processor time that commands take to start, compared with the imports that they need.

    python benchmarks/startup.py [--rounds 5]

Each row shows the median over the rounds of user + system seconds of one process, and its ratio to that of
``import torch``. The commands alternate, so that changes in the speed of the machine affect all of them.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from result_files import Table, add_results_option, write_result

REGION = """
import torch
from lightning_langcore import random_region
random_region({"model.layers.0.mlp.up_proj.weight": (64, 64)}, 0.05, 0).save("core.safetensors")
"""
RECORD = """
from lightning_langcore.results.record import Results
run = Results("run", experiment="x", seed=0, model={"name": "tiny"})
about = {"samples": 0, "lang": "zh", "split": "test", "seed": 0, "bits_per_byte": 1.0, "num_tokens": 9, "num_bytes": 9}
for stage in ("base", "final"):
    run.add({"stage": stage, "nats_per_token": 2.0, **about})
run.status = "completed"
run.write()
"""
COMMAND = "import sys; from lightning_langcore.cli.main import main; sys.argv = ['langcore', {}]; main()"
RUN = "import lightning_langcore.cli.run, lightning_langcore.jobs.{}"
COMMANDS = {
    "import torch": "import torch",
    "import lightning.pytorch": "import lightning.pytorch",
    "import lightning_langcore": "import lightning_langcore",
    "langcore": COMMAND.format(""),
    "langcore --help": COMMAND.format("'--help'"),
    "langcore region show": COMMAND.format("'region', 'show', 'core.safetensors'"),
    "langcore report": COMMAND.format("'report', 'run'"),
    "a run's imports, job=fit": RUN.format("fit"),
    "a run's imports, job=perturb": RUN.format("perturb"),
    "a run, until it opens its text": COMMAND.format("'+experiment=recovery_frozen', 'data=files', 'data.root=none'"),
}


def seconds(code: str, folder: str) -> float:
    """User and system seconds of one process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, check=False, stdin=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Measure all commands and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="processes per command, and one more that is not counted")
    add_results_option(parser)
    options = parser.parse_args()
    rounds = options.rounds
    measured: dict[str, list[float]] = {name: [] for name in COMMANDS}
    with tempfile.TemporaryDirectory() as folder:
        for code in (REGION, RECORD):
            subprocess.run([sys.executable, "-c", code], cwd=Path(folder), check=True)
        for number in range(rounds + 1):
            for name, code in COMMANDS.items():
                value = seconds(code, folder)
                if number:
                    measured[name].append(value)
    torch = statistics.median(measured["import torch"])
    table = Table({"command": "{}", "seconds": "{:.2f}", "over import torch": "{:.2f}"})
    for name, values in measured.items():
        table.add(name, statistics.median(values), statistics.median(values) / torch)
    print(table.markdown())
    write_result("startup", {"startup": table}, options.results, settings={"rounds": rounds})


if __name__ == "__main__":
    main()
