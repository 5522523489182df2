"""Locating from checkpoints on disk: time and memory, compared with the plain way and with reading the bytes only.

    python benchmarks/checkpoints.py WORK_FOLDER                    two true-width 7B layers, float32, six languages
    python benchmarks/checkpoints.py WORK_FOLDER --layers 32 --dtype bfloat16 --languages 2 --no-plain

Random models with the shapes of LLaMA 2 7B are written to WORK_FOLDER in shards (kept for the next call; remove the
folder yourself). In bfloat16 every weight changes by at least one step. Then the ways run alternately, each in its own
process: reading all bytes; this project's `locate` (core, peripheral and random of the sum, a core of each language,
the union table); and the plain way of the paper's released code, which loads everything and calls `topk` on each tensor
of the sum. Peak memory counts anonymous pages, because pages of mapped files can be dropped at any time.
"""

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from result_files import Table, add_results_option, write_result
from safetensors.torch import load_file, save_file
from torch import Tensor

from lightning_langcore.importance.search import Query, locate
from lightning_langcore.importance.selectors import SelectionSpec
from lightning_langcore.importance.statistics import CheckpointChanges
from lightning_langcore.models.parameters import candidates
from lightning_langcore.models.safetensors_reader import Weights

HIDDEN, INNER, VOCAB, NUM_LAYERS = 4096, 11008, 32000, 32
SHARD_BYTES = 5_000_000_000
FRACTION = 0.05


def shapes_of(num_layers: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of LLaMA 2 7B with ``num_layers`` layers; below 32 layers the vocabulary has 1000 tokens."""
    vocab = VOCAB if num_layers == NUM_LAYERS else 1000
    square, wide, tall = (HIDDEN, HIDDEN), (INNER, HIDDEN), (HIDDEN, INNER)
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (vocab, HIDDEN)}
    for layer in range(num_layers):
        start = f"model.layers.{layer}."
        shapes |= {f"{start}self_attn.{kind}_proj.weight": square for kind in "qkvo"}
        shapes |= {f"{start}mlp.gate_proj.weight": wide, f"{start}mlp.up_proj.weight": wide}
        shapes |= {f"{start}mlp.down_proj.weight": tall}
        shapes |= {f"{start}{norm}_layernorm.weight": (HIDDEN,) for norm in ("input", "post_attention")}
    return shapes | {"model.norm.weight": (HIDDEN,), "lm_head.weight": (vocab, HIDDEN)}


def tensors(num_layers: int, dtype: torch.dtype, language: int | None) -> Iterator[tuple[str, Tensor]]:
    """Tensors of the base (``language=None``) or of the base after training on a language, one at a time."""
    for number, (name, shape) in enumerate(shapes_of(num_layers).items()):
        base = torch.randn(shape, generator=torch.Generator().manual_seed(number)).mul_(0.02).to(dtype)
        if language is None:
            yield name, base
            continue
        generator = torch.Generator().manual_seed(1000 * (language + 1) + number)
        if dtype == torch.bfloat16:  # 1 to 8 steps of bfloat16 away from zero
            steps = torch.randint(1, 9, shape, generator=generator, dtype=torch.int16)
            yield name, (base.view(torch.int16) + steps).view(dtype)
        else:
            yield name, base + torch.randn(shape, generator=generator).mul_(1e-4)


def write(folder: Path, num_layers: int, dtype: torch.dtype, language: int | None) -> None:
    """Write a model in shards with their index, unless it exists."""
    if (folder / "model.safetensors.index.json").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    index: dict[str, str] = {}
    shard: dict[str, Tensor] = {}

    def flush() -> None:
        name = f"model-{len(set(index.values())) + 1:05d}.safetensors"
        save_file(shard, folder / name)
        index.update(dict.fromkeys(shard, name))
        shard.clear()

    for name, tensor in tensors(num_layers, dtype, language):
        shard[name] = tensor
        if sum(t.nbytes for t in shard.values()) > SHARD_BYTES:
            flush()
    flush()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))


class Peak(threading.Thread):
    """Peak number of bytes in anonymous pages while the thread runs."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.bytes = 0
        self.stop = threading.Event()

    def run(self) -> None:
        """Sample every 20 ms."""
        while not self.stop.wait(0.02):
            for line in Path("/proc/self/status").read_text().splitlines():
                if line.startswith("RssAnon"):
                    self.bytes = max(self.bytes, int(line.split()[1]) * 1024)


def read_only(folders: list[Path]) -> None:
    """Read every byte of every model once."""
    buffer = bytearray(1 << 24)
    for folder in folders:
        for file in sorted(folder.glob("*.safetensors")):
            with file.open("rb", buffering=0) as handle:
                while handle.readinto(buffer):
                    pass


def ours(folders: list[Path], scope: str) -> None:
    """Locate core, peripheral and random, a core of each language, and the union table."""
    base = Weights(folders[0])
    shapes = candidates(base.shapes)
    statistics = CheckpointChanges(base, {folder.name: Weights(folder) for folder in folders[1:]}, shapes)
    queries = {
        "core": Query("relative_change", SelectionSpec(FRACTION, "lowest", scope=scope)),
        "peripheral": Query("relative_change", SelectionSpec(FRACTION, "highest", scope=scope)),
        "random": Query("random", SelectionSpec(FRACTION, "lowest", scope=scope)),
        **{
            lang: Query("relative_change", SelectionSpec(FRACTION, "lowest", scope=scope), lang)
            for lang in statistics.languages
        },
    }
    others = [name for name in base.shapes if name not in shapes]
    result = locate(base, statistics, shapes, queries, [0.01, 0.03, 0.05], others)
    print({key: len(region) for key, region in result.regions.items()}, file=sys.stderr)


def core_alone(folders: list[Path]) -> None:
    """Locate only the core of the sum, as the plain way does."""
    base = Weights(folders[0])
    shapes = candidates(base.shapes)
    statistics = CheckpointChanges(base, {folder.name: Weights(folder) for folder in folders[1:]}, shapes)
    locate(base, statistics, shapes, {"core": Query("weight_change", SelectionSpec(FRACTION, "lowest"))})


def plain(folders: list[Path]) -> None:
    """Load everything, add up, ``topk`` per tensor into a dense mask."""
    models = [
        {name: t.clone() for file in sorted(folder.glob("*.safetensors")) for name, t in load_file(file).items()}
        for folder in folders
    ]
    base, trained = models[0], models[1:]
    masks = {}
    for name in candidates({name: tuple(t.shape) for name, t in base.items()}):
        total = sum((model[name].float() - base[name].float()).abs() for model in trained)
        assert isinstance(total, Tensor)
        chosen = torch.topk(total.flatten(), round(FRACTION * total.numel()), largest=False).indices
        masks[name] = torch.zeros(total.numel(), dtype=torch.bool)
        masks[name][chosen] = True


WAYS = {
    "read": read_only,
    "locate": lambda folders: ours(folders, "tensor"),
    "locate, scope=model": lambda folders: ours(folders, "model"),
    "locate, core alone": core_alone,
    "plain": plain,
}


def main() -> None:
    """Write the models if they are missing, run the ways alternately, print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--languages", type=int, default=6)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-plain", action="store_true", help="skip the way that holds everything in memory")
    parser.add_argument("--way", choices=WAYS, help="(for the script itself) run one way, print seconds and bytes")
    add_results_option(parser)
    options = parser.parse_args()
    names = ["base", *(f"language_{number}" for number in range(options.languages))]
    folders = [options.folder / f"{options.dtype}-{options.layers}" / name for name in names]
    if options.way:
        peak = Peak()
        peak.start()
        started = time.perf_counter()
        WAYS[options.way](folders)
        seconds = time.perf_counter() - started
        peak.stop.set()
        peak.join()
        print(json.dumps({"seconds": seconds, "bytes": peak.bytes}))
        return
    for number, folder in enumerate(folders):
        write(folder, options.layers, getattr(torch, options.dtype), number - 1 if number else None)
    num_bytes = sum(Weights(folder).num_bytes for folder in folders)
    ways = [way for way in WAYS if not (options.no_plain and way == "plain")]
    runs: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    for _ in range(options.rounds):
        for way in ways:
            command = [sys.executable, __file__, *sys.argv[1:], "--way", way]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=dict(os.environ))
            runs[way].append(json.loads(done.stdout))
    weights = sum(torch.Size(shape).numel() for shape in shapes_of(options.layers).values())
    print(f"{weights / 1e9:.2f} G weights, base and {options.languages} languages in {options.dtype},", end=" ")
    print(f"{num_bytes / 1e9:.1f} GB; torch {torch.__version__}, {torch.get_num_threads()} threads\n")
    middle = {way: sorted(run["seconds"] for run in own)[len(own) // 2] for way, own in runs.items()}
    table = Table({"way": "{}", "seconds (median)": "{:.1f}", "times reading": "{:.2f}", "peak memory, GB": "{:.2f}"})
    for way in ways:
        most = max(run["bytes"] for run in runs[way]) / 1e9
        table.add(way, middle[way], middle[way] / middle["read"], most)
    print(table.markdown())
    settings = {name: getattr(options, name) for name in ("layers", "languages", "dtype", "rounds")}
    settings |= {"threads": torch.get_num_threads(), "weights": weights, "gigabytes": num_bytes / 1e9}
    topic = "checkpoints_7b" if options.layers == NUM_LAYERS else "checkpoints"
    write_result(topic, {topic: table}, options.results, settings=settings)


if __name__ == "__main__":
    main()
