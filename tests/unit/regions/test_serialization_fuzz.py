"""Region files that were damaged or made to deceive: a ValueError of one line, or what a plain reading finds.

A usual run tries a few hundred; for many more:
``FUZZ_CASES=100000 python -m pytest tests/unit/regions/test_serialization_fuzz.py``.
"""

import json
import math
import multiprocessing
import os
import random
import resource
import sys
import traceback
import tracemalloc
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lightning_langcore import Region
from lightning_langcore.regions import serialization
from lightning_langcore.regions.serialization import fingerprint
from lightning_langcore.regions.weight_set import WeightSet

CASES = int(os.environ.get("FUZZ_CASES", "400"))
SEED = int(os.environ.get("FUZZ_SEED", "0"))
SHAPES = {"model.layers.0.a.weight": (8, 16), "model.layers.0.b.weight": (5, 5), "c": (3, 40), "d": (6, 7), "e": (0, 4)}
SIZES = {"I32": 4, "I64": 8, "U8": 1, "F32": 4, "BOOL": 1, "F16": 2, "BF16": 2, "I8": 1, "U16": 2, "U32": 4, "U64": 8}
STRANGE = ["F8_E4M3", "F8_E5M2", "F8_E8M0", "F6_E2M3", "F4", "C64", "F64", "i32", "", "PICKLE"]
ODD = [
    None, True, False, -1, 0, 1, 2, 1.5, 2**31, 2**32, 2**62, 2**63, 2**64, 10**400, 1e308, float("nan"), float("inf"),
    "", "x", "idx", "\ud800", "\0", "a\nb", "x" * 5000, [], [[]], [1], [-1, -1], [2**40, 2**20], [2**63], [10**400, 0],
    [1.0, 2.0], ["8", "16"], [True, 16], [1] * 100, [2**62] * 64, {}, {"a": {}}, {"": [1]}, "1" * 5000,
]  # fmt: skip


# --- files


def region():
    """One of every form, and parameters with nothing."""
    generator = random.Random(1)
    parts = {
        "model.layers.0.a.weight": torch.tensor([3, 77]),
        "model.layers.0.b.weight": torch.tensor(sorted(generator.sample(range(25), 11))),
        "c": WeightSet("rows", torch.tensor([0, 2], dtype=torch.int32), (3, 40)),
        "d": WeightSet("cols", torch.tensor([1, 4, 5], dtype=torch.int32), (6, 7)),
    }
    return Region(SHAPES, parts, {"kind": "core", "languages": ["zh", "ar"], "fraction": 0.05, "seed": 7})


def assemble(header, body, length=None):
    """A file of a header, as text or bytes, and what follows."""
    raw = header if isinstance(header, bytes) else header.encode("utf-8", "surrogatepass")
    length = len(raw) if length is None else length
    return length.to_bytes(8, "little", signed=length < 0) + raw + body


def take_apart(data):
    end = 8 + int.from_bytes(data[:8], "little")
    return json.loads(data[8:end]), data[end:]


def json_of(value, generator):
    """JSON, now and then with a key twice or far too deep."""
    text = json.dumps(value, ensure_ascii=generator.random() < 0.5)
    if generator.random() < 0.05 and text.startswith("{") and len(text) > 2:
        return "{" + text[1:-1] + "," + text[1:]
    if generator.random() < 0.02:
        depth = generator.choice([100, 1000, 50_000])
        return text[:-1] + ', "deep": ' + "[" * depth + "]" * generator.choice([depth, 0]) + "}"
    return text


def with_other_bytes(data, generator):
    changed = bytearray(data)
    header = 8 + int.from_bytes(data[:8], "little")
    first, last = generator.choice([(0, 8), (8, header), (header, len(data)), (0, len(data))])
    for _ in range(generator.choice([1, 1, 2, 3, 20])):
        place = generator.randrange(first, last)
        changed[place] = generator.choice([changed[place] ^ 1 << generator.randrange(8), generator.randrange(256)])
    return bytes(changed)


def cut_or_lengthened(data, generator):
    kind = generator.randrange(3)
    if kind == 0:
        return data[: generator.randrange(len(data))]
    if kind == 1:
        return data + generator.randbytes(generator.choice([1, 8, 500]))
    first, last = sorted(generator.sample(range(len(data)), 2))
    return data[:first] + data[last:]


def with_a_lie_about_its_header(data, generator):
    end = 8 + int.from_bytes(data[:8], "little")
    length = generator.choice(
        [0, 1, end - 9, end - 7, end - 16, len(data), 2**31, 2**40, 2**63 - 1, -1, -(2**63), 100_000_001]
    )
    return assemble(data[8:end], data[end:], length)


def another_region():
    shapes = SHAPES | {"model.layers.0.a.weight": (16, 8)}
    return Region(shapes, {"model.layers.0.a.weight": torch.tensor([5, 9]), "d": torch.tensor([1, 2])})


def spliced(one, two, generator):
    """The header of one region, the content of another, cut or repeated to its length or not; or halves of both."""
    one, two = generator.sample([one, two], 2)
    (_, content), (_, other) = take_apart(one), take_apart(two)
    header = one[: len(one) - len(content)]
    fitting = (other * len(content))[: len(content)]
    return generator.choice([header + fitting, header + other, one[: generator.randrange(len(one))] + two, one + two])


def with_a_changed_entry(data, generator):
    """Offsets, shapes, types and names of tensors that do not fit."""
    header, body = take_apart(data)
    names = [name for name in header if name != "__metadata__"]
    name = generator.choice(names)
    entry = header[name]
    start, end = entry["data_offsets"]
    wild = [
        [-1, end],
        [end, start],
        [start, 2**63],
        [start, 10**30],
        [0, 1],
        [start + 1, end],
        [start, end - 1],
        [0, len(body)],
    ]
    changes = [
        lambda: entry.update(data_offsets=generator.choice([*wild, *ODD])),
        lambda: entry.update(shape=generator.choice([[2**60], [2**32, 2**32], [-1], [], [0], [1, 1], *ODD])),
        lambda: entry.update(dtype=generator.choice([*SIZES, *STRANGE, *ODD])),
        lambda: entry.update(extra=generator.choice(ODD)),
        lambda: header.update({name: generator.choice(ODD)}),
        lambda: header.update({generator.choice(names): header.pop(name)}),
        lambda: header.update(
            {generator.choice(["", "|", "|idx", "a|b|idx", f"{name}|idx", "\0|idx"]): header.pop(name)}
        ),
        lambda: header.update({generator.choice([name.replace("|", "|x"), name.split("|")[0]]): dict(entry)}),
    ]
    generator.choice(changes)()
    return assemble(json_of(header, generator), body)


def with_other_metadata(data, generator):
    """The JSON in the JSON, and what stands around it."""
    header, body = take_apart(data)
    about = json.loads(header["__metadata__"]["langcore"])
    kind = generator.randrange(6)
    if kind == 0:
        header["__metadata__"] = generator.choice(ODD)
    elif kind == 1:
        header["__metadata__"]["langcore"] = generator.choice([*ODD, "{", "[]", "null", "3", "NaN", "{}", "[" * 50_000])
    else:
        if kind == 2:
            about.pop(generator.choice(list(about)))
        elif kind == 3:
            about[generator.choice(list(about))] = generator.choice(ODD)
        else:  # a fingerprint that fits, as far as one can be made
            about["candidates"][generator.choice([*SHAPES, "new", "\ud800", "a\nb"])] = generator.choice(ODD)
            if kind == 5:
                del about["sha256"]
            with suppress(TypeError, ValueError):
                about["fingerprint"] = fingerprint(about["candidates"])
        header["__metadata__"]["langcore"] = json_of(about, generator)
    return assemble(json.dumps(header), body)


def made_up(_, generator):
    """Well-formed, with any form, type, shape and values, and without checksums: only the content can give it away."""
    sizes = [(8, 16), (5, 5), (1,), (0,), (0, 3), (3, 0), (2, 3, 4), (), (2**40, 2**20), (2**31, 2), (2**62,)]
    names = generator.sample(["a", "b", "c|d", "é", "a.b"], generator.randrange(1, 4))
    shapes = {name: generator.choice(sizes) for name in names}
    liar = generator.choice([*names, *names, None])  # one entry at most is wrong
    header, body = {}, b""
    for name, shape in shapes.items():
        form = generator.choice(["idx", "bits", *(["rows", "cols"] if len(shape) == 2 else [])])
        dtype = "U8" if form == "bits" else generator.choice(["I32", "I64"])
        lie = generator.choice(["form", "type", "rank", "twice", "values", "values"]) if name == liar else None
        form = generator.choice(["idx", "bits", "rows", "cols", "planes", ""]) if lie == "form" else form
        dtype = generator.choice([*SIZES]) if lie == "type" else dtype
        values = some_bytes(form, shape, SIZES[dtype], lie == "values", generator)
        count = len(values) // SIZES[dtype]
        dims = generator.choice([[count, 1], [1, count], [1, 1, count]]) if lie == "rank" else [count]
        header[f"{name}|{form}"] = {"dtype": dtype, "shape": dims, "data_offsets": [len(body), len(body) + len(values)]}
        body += values
        if lie == "twice":
            empty = {"dtype": "I32", "shape": [0], "data_offsets": [len(body), len(body)]}
            header[f"{name}|{'rows' if form == 'idx' else 'idx'}"] = empty
    about = {"format": 1, "candidates": shapes, "fingerprint": fingerprint({n: list(s) for n, s in shapes.items()})}
    header["__metadata__"] = {"langcore": json.dumps(about)}
    return assemble(json.dumps(header), body)


def some_bytes(form, shape, width, lies, generator):
    numel = math.prod(shape)
    if form == "bits":
        size = (numel + 7) // 8 if numel < 8000 else generator.randrange(50)
        full = bytearray(generator.choice([bytes(size), b"\xff" * size, generator.randbytes(size)]))
        if full and numel % 8:
            full[-1] = 255 if lies else full[-1] & 2 ** (numel % 8) - 1
        return bytes(full) + bytes([1]) * (lies and generator.randrange(2))
    places = {"rows": shape[:1], "cols": shape[1:2]}.get(form, (numel,))
    largest = min(math.prod(places), 2 ** (8 * width - 1) - 1)
    values = sorted({generator.randrange(largest) for _ in range(generator.randrange(12))}) if largest else []
    if lies:
        wrong = [
            [*values, largest],
            [-1, *values],
            [*values, *values[-1:]],
            values[::-1],
            [*values, 2 ** (8 * width - 1) - 1],
        ]
        values = generator.choice(wrong)
    return b"".join((value % 2 ** (8 * width)).to_bytes(width, "little") for value in values)


KINDS = [
    with_other_bytes, cut_or_lengthened, with_a_lie_about_its_header, spliced, with_a_changed_entry,
    with_other_metadata, made_up,
]  # fmt: skip
DAMAGE = (with_other_bytes, cut_or_lengthened, with_a_lie_about_its_header, spliced)


# --- a plain reading


def plain_indices(data):
    """Name -> set of flat indices, or of those of the first thousand lines, from the bytes alone; no checks."""
    header, body = take_apart(data)
    about = json.loads(header.pop("__metadata__")["langcore"])
    found = {}
    for key, entry in header.items():
        name, _, form = key.rpartition("|")
        assert name not in found
        first, last = entry["data_offsets"]
        raw, width = body[first:last], SIZES[entry["dtype"]]
        values = [
            int.from_bytes(raw[i : i + width], "little", signed=form != "bits") for i in range(0, len(raw), width)
        ]
        if form == "bits":
            values = [8 * i + bit for i, byte in enumerate(values) for bit in range(8) if byte >> bit & 1]
        found[name] = (form, values)
    return {name: tuple(shape) for name, shape in about["candidates"].items()}, found


def assert_as_read(loaded, data):
    """Whether a region holds what stands in its file; without asking for billions of weights."""
    shapes, found = plain_indices(data)
    full = {name for name, (form, values) in found.items() if values and weight_of(form, shapes[name])}
    assert loaded.shapes == shapes
    assert set(loaded.parts) == full
    for name in full:
        form, values = found[name]
        part = loaded.parts[name]
        assert len(part) == len(values) * weight_of(form, shapes[name])
        assert values == sorted(set(values))
        assert 0 <= values[0] <= values[-1] < (part.numel if form in ("idx", "bits") else shapes[name][form == "cols"])
        assert (part.data if part.encoding == form != "bits" else part.indices()).tolist() == values


def weight_of(form, shape):
    """Weights that one index stands for."""
    return {"rows": lambda: shape[1], "cols": lambda: shape[0]}.get(form, lambda: 1)()


# --- loading


class Largest(TorchDispatchMode):
    """Bytes of the largest tensor that is made."""

    num_bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        made = [leaf.untyped_storage().nbytes() for leaf in tree_leaves(out) if isinstance(leaf, torch.Tensor)]
        self.num_bytes = max([self.num_bytes, *made])
        return out


def check(path, data, unharmed):
    """Load one file: whether it was refused; ``unharmed``: what it must be equal to if its checksum is still there."""
    path.write_bytes(data)
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    try:
        with Largest() as largest:
            loaded = Region.load(path)
    except ValueError as error:
        message = str(error)
        assert message.startswith(f"{path} is not a ")
        assert "\n" not in message
        assert len(message) < 600
        loaded = None
    peak = tracemalloc.get_traced_memory()[1] - before
    assert largest.num_bytes <= max(64, len(data)), f"a tensor of {largest.num_bytes} bytes"
    assert peak <= 40 * len(data) + 100_000, f"{peak} bytes for a file of {len(data)}"
    if loaded is None:
        return True
    assert_as_read(loaded, data)
    assert not unharmed or "sha256" not in take_apart(data)[0]["__metadata__"]["langcore"] or loaded in unharmed
    assert Region.load(loaded.save(path)) == loaded
    return False


def try_all(kind, count, folder, pipe):
    """In a process that can't get 256 MB more than it has: what went wrong, and how many files were refused."""
    size = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + (256 << 20), resource.RLIM_INFINITY))
    one, two = region(), another_region()
    data = one.save(folder / "one").read_bytes(), two.save(folder / "two").read_bytes()
    tracemalloc.start()
    refused = 0
    for number in range(count):
        generator = random.Random(f"{SEED} {kind.__name__} {number}")
        made = kind(*data, generator) if kind is spliced else kind(data[0], generator)
        try:
            refused += check(folder / "r.safetensors", made, [one, two] if kind in DAMAGE else [])
        except Exception:
            pipe.send(f"case {number}: {traceback.format_exc()}\n{made[:600]!r}")
            return
        pipe.send(number)
    pipe.send(("refused", refused))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits the address space")
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_hostile_file_is_refused_in_one_line_or_is_what_it_says(tmp_path, kind):
    count = math.ceil(CASES / len(KINDS))
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=try_all, args=(kind, count, tmp_path, there))
    process.start()
    there.close()
    said = -1
    while not isinstance(said, tuple):
        try:
            said = here.recv()
        except EOFError:
            pytest.fail(f"the process died (exit code {process.exitcode}) after case {said}")
        assert not isinstance(said, str), said
    process.join()
    refused = said[1]
    sys.stdout.write(f"{kind.__name__}: {refused} of {count} refused\n")
    assert refused > count * (0.2 if kind is made_up else 0.6)
    assert refused < count or kind in (cut_or_lengthened, with_a_lie_about_its_header, spliced)


def test_the_files_are_hostile_by_their_changes_alone(tmp_path):
    made = region()
    data = made.save(tmp_path / "r").read_bytes()
    assert check(tmp_path / "r", data, [made]) is False
    header, body = take_apart(data)
    assert check(tmp_path / "r", assemble(json.dumps(header), body), [made]) is False
    assert {key.rpartition("|")[2] for key in header if "|" in key} == {"idx", "bits", "rows", "cols"}


@pytest.mark.parametrize("form", ["bits", "idx", "rows"])
def test_a_declared_shape_of_2_to_the_60_takes_no_memory(tmp_path, form):
    """A process that can't hold a thousandth of it refuses or loads it."""
    about = {"format": 1, "candidates": {"a": [2**40, 2**20]}, "fingerprint": fingerprint({"a": [2**40, 2**20]})}
    entry = {"dtype": "U8" if form == "bits" else "I32", "shape": [8 if form == "bits" else 2], "data_offsets": [0, 8]}
    header = {f"a|{form}": entry, "__metadata__": {"langcore": json.dumps(about)}}
    refused = check(tmp_path / "r", assemble(json.dumps(header), b"\1\0\0\0\2\0\0\0"), [])
    assert refused == (form == "bits")


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ([2**32, 2**31], "has 2^63 elements or more"),
        ([10**400, 1], "has no shape"),
        ([2**62] * 60, "has 2^63 elements or more"),
        ([2**62] * 65, "at most 64 whole numbers"),
        ([2.0, 3], "whole numbers"),
        ([True], "whole numbers"),
        (["8"], "whole numbers"),
        ("8", "has no shape"),
    ],
)
def test_shapes_that_are_none_are_refused_by_name(tmp_path, shape, message):
    about = {"format": 1, "candidates": {"a.weight": shape}, "fingerprint": ""}
    data = assemble(json.dumps({"__metadata__": {"langcore": json.dumps(about)}}), b"")
    (tmp_path / "r").write_bytes(data)
    with pytest.raises(ValueError, match=r"not a valid region file: a\.weight ") as info:
        Region.load(tmp_path / "r")
    assert message in str(info.value)


def test_a_header_beyond_all_measure_is_not_parsed(tmp_path, monkeypatch):
    monkeypatch.setattr(serialization, "_LARGEST_HEADER", 1000)
    monkeypatch.setattr(json, "loads", lambda _: pytest.fail("parsed"))
    about = json.dumps({"format": 1, "candidates": [[] for _ in range(300)]})
    (tmp_path / "r").write_bytes(assemble(json.dumps({"__metadata__": {"langcore": about}}), b""))
    with pytest.raises(ValueError, match=r"its header has 1,2\d\d characters, more than 1,000"):
        Region.load(tmp_path / "r")
