"""What ``langcore plan`` says of full-parameter training of 1B, 7B and 13B on cards of 79 GiB; nothing is measured.

    python benchmarks/plans.py

The shapes are those of Llama 3.2 1B, LLaMA 2 7B and 13B, written to config files, so that nothing is downloaded. All
plans have the default guard (5 % of the candidates) and 4 x 2048 tokens a device.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from result_files import Table, add_results_option, write_result

GIB = 79
LLAMA = {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}
MODELS: dict[str, dict[str, Any]] = {
    "1b": {
        "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32,
        "num_key_value_heads": 8, "head_dim": 64, "vocab_size": 128256, "max_position_embeddings": 131072,
        "tie_word_embeddings": True,
    },
    "7b": {
        "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32,
        "vocab_size": 32000, "max_position_embeddings": 4096,
    },
    "13b": {
        "hidden_size": 5120, "intermediate_size": 13824, "num_hidden_layers": 40, "num_attention_heads": 40,
        "vocab_size": 32000, "max_position_embeddings": 4096,
    },
}  # fmt: skip
COMMON = ["callbacks=guarded", "data.block_size=2048", "data.batch_size=4"]
LEAN = ["model.activation_checkpointing=true", "task.chunked_loss=true"]
CASES = [
    ("gpu", 1, "bf16-mixed", False, "adamw"),
    ("gpu", 1, "bf16-mixed", True, "adamw"),
    ("gpu", 1, "bf16-mixed", True, "adamw8bit"),
    ("gpu", 1, "bf16-true", False, "adamw"),
    ("gpu", 1, "bf16-true", True, "adamw"),
    ("gpu", 1, "bf16-true", True, "adamw8bit"),
    ("ddp", 8, "bf16-mixed", True, "adamw"),
    ("fsdp2", 8, "bf16-mixed", False, "adamw"),
    ("fsdp2", 8, "bf16-mixed", True, "adamw"),
]
"""Trainer, cards, precision, checkpointing and chunked loss, optimizer."""
COMMAND = "import sys; from lightning_langcore.cli.main import main; sys.argv[0] = 'langcore'; main()"


def planned(folder: Path, trainer: str, cards: int, precision: str, lean: bool, optimizer: str) -> tuple[float, bool]:
    """GiB that each card needs, and whether they fit.

    Raises:
        RuntimeError: the plan failed.
    """
    words = [f"trainer={trainer}", f"trainer.devices={cards}", f"trainer.precision={precision}"]
    words += ["trainer.accelerator=gpu", f"optimizer={optimizer}", *(LEAN if lean else [])]
    command = ["plan", "--memory", str(GIB), "model=hub", f"model.path={folder}", *COMMON, *words]
    done = subprocess.run([sys.executable, "-c", COMMAND, *command], capture_output=True, text=True, check=False)
    found = re.search(r"in all\s+[\d.]+\s+([\d.,]+)", done.stdout)
    if not found:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr[-500:]}")
    return float(found[1].replace(",", "")), done.returncode == 0


def main() -> None:
    """Print the table and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    add_results_option(parser)
    options = parser.parse_args()
    columns = dict.fromkeys(
        ("model", "trainer", "cards", "precision", "checkpointing, chunked loss", "optimizer"), "{}"
    )
    table = Table({**columns, "GiB a card": "{:.3f}", f"fits {GIB} GiB": "{}"})
    print(table.head())
    with tempfile.TemporaryDirectory() as name:
        for model in options.models:
            folder = Path(name) / model
            folder.mkdir()
            (folder / "config.json").write_text(json.dumps(LLAMA | MODELS[model]), encoding="utf-8")
            for trainer, cards, precision, lean, optimizer in CASES:
                gib, fits = planned(folder, trainer, cards, precision, lean, optimizer)
                cells = [trainer, cards, precision, "yes" if lean else "no", optimizer, gib, "yes" if fits else "no"]
                print(table.add(model, *cells), flush=True)
    write_result("memory_plans", {"memory_plans": table}, options.results)


if __name__ == "__main__":
    main()
