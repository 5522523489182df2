"""Files whole or not at all: on a full disk, in a killed process, beside another; and no other way to write or read."""

import ast
import errno
import multiprocessing
import os
import re
import resource
import shutil
import signal
import stat
import time
from pathlib import Path
from types import SimpleNamespace

import datasets
import pytest
import torch
from cli_helpers import run, write_samples
from matplotlib.figure import Figure
from safetensors import SafetensorError
from safetensors.torch import save_file

from lightning_langcore import Region
from lightning_langcore.data.chat_encoding import Encoded
from lightning_langcore.data.packing.conversations import pack_conversations
from lightning_langcore.data.packing.documents import PackedTokens, pack
from lightning_langcore.data.sources.base import Conversation, Document
from lightning_langcore.models import loading, safetensors_writer
from lightning_langcore.plots.style import save as save_picture
from lightning_langcore.results.record import Results
from lightning_langcore.utils import artifact_cache, atomic_files

PACKAGE = Path(atomic_files.__file__).parent
SOURCES = {str(path.relative_to(PACKAGE)): ast.parse(path.read_text("utf-8")) for path in sorted(PACKAGE.rglob("*.py"))}
FORK = multiprocessing.get_context("fork")
LIMIT = 1000
RECIPE = {"tokens": 100}


# --- the source: how it writes and what it reads

WRITERS = {
    "write_text", "write_bytes", "savefig", "to_csv", "to_json", "to_parquet", "save_pretrained", "save_to_disk",
    "tofile", "copyfile", "copy", "copy2", "copytree", "link", "symlink_to", "hardlink_to", "touch",
}  # fmt: skip
OWNED_WRITERS = {"torch.save", "np.save", "np.savez", "json.dump", "pickle.dump", "shutil.move"}
ATOMIC = {"atomic_path", "atomic_folder"}
INSIDE = "writes into a folder that make_once publishes when it is whole"
MAY_WRITE = {
    "data/packing.py": INSIDE,
    "data/talk_rows.py": INSIDE,
    "data/catalogue.py": INSIDE,
    "models.py": "save() fills a folder of the caller's, which atomic_folder or artifacts.get publishes",
    "jobs/evidence.py": INSIDE,
    "jobs/saving.py": "StepCheckpoint writes beside its place and renames",
    "files.py": "the one place that writes",
}


def dotted(node):
    return f"{dotted(node.value)}.{node.attr}" if isinstance(node, ast.Attribute) else getattr(node, "id", "?")


def calls(tree):
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call)]


def is_write(call):
    """A method or function that writes a file, or ``open`` with a mode that does."""
    name, bare = dotted(call.func), isinstance(call.func, ast.Name)
    last = name.rsplit(".", 1)[-1]
    if last == "open":
        modes = [*call.args[int(bare) : int(bare) + 1], *(k.value for k in call.keywords if k.arg == "mode")]
        return any(isinstance(m, ast.Constant) and set(str(m.value)) & set("wax+") for m in modes)
    if last == "save_file" or name in OWNED_WRITERS:
        return True
    plain_copy = last in ("copy", "link") and not name.startswith(("shutil.", "os."))  # of a dict, a tensor
    return last in WRITERS and not bare and not plain_copy


def unsafe_writes(tree):
    """Those whose target is not what ``atomic_path`` or ``atomic_folder`` has handed out."""
    items = [item for node in ast.walk(tree) if isinstance(node, ast.With) for item in node.items]
    given = {
        dotted(item.optional_vars)
        for item in items
        if isinstance(item.context_expr, ast.Call) and dotted(item.context_expr.func).rsplit(".", 1)[-1] in ATOMIC
    }
    used = ({n.id for n in ast.walk(call) if isinstance(n, ast.Name)} for call in calls(tree) if is_write(call))
    return sum(1 for names in used if not names & given)


@pytest.mark.parametrize("name", SOURCES)
def test_the_package_writes_through_files_alone(name):
    if name not in MAY_WRITE:
        assert unsafe_writes(SOURCES[name]) == 0, f"{name}: write through lightning_langcore.utils.atomic_files"


def test_the_exceptions_are_needed_and_what_writes_is_recognised():
    assert [name for name in MAY_WRITE if name not in SOURCES or not unsafe_writes(SOURCES[name])] == []
    for text, found in {
        "open(p, 'w')": 1,
        "p.open(mode='ab')": 1,
        "p.open('rb'); open(p); p.open()": 0,
        "p.write_text(t); write_text(p, t)": 1,
        "figure.savefig(p); torch.save(x, p); np.save(p, x); json.dump(x, f)": 4,
        "json.dumps(x); d.copy(); shutil.copy(a, b)": 1,
        "with atomic_path(p) as t, t.open('w') as f: f.write(x)": 0,
        "with files.atomic_folder(p) as t: model.save_pretrained(t)": 0,
        "with atomic_path(p) as t: save_file(x, p)": 1,
    }.items():
        assert unsafe_writes(ast.parse(text)) == found, text


def constants(call):
    return {k.arg: k.value.value for k in call.keywords if isinstance(k.value, ast.Constant)}


PICKLES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}


def unsafe_reads(tree):
    """What could run code that lies in a file: pickles, code beside a model, evaluated text."""
    found = [n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module in PICKLES]
    classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    choosy = [each for each in classes if any(getattr(node, "name", None) == "find_class" for node in each.body)]
    bases = {base for each in choosy for base in each.bases}  # an unpickler that looks at what it is told to make
    names = {dotted(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node not in bases}
    found += [
        name for name in names - {"pickle.UnpicklingError", "pickle.PickleError"} if name.split(".")[0] in PICKLES
    ]
    for call in calls(tree):
        what, said = dotted(call.func), constants(call)
        method, given = what.rsplit(".", 1)[-1], {k.arg for k in call.keywords}
        required = {}
        if method in ("from_pretrained", "from_config"):
            required["trust_remote_code"] = False
        if method == "from_pretrained" and "Model" in what:
            required["use_safetensors"] = True
        if what == "torch.load" or (method == "fit" and "ckpt_path" in given):
            required["weights_only"] = True
        wrong = {k: v for k, v in required.items() if said.get(k) is not v}
        bad = {"trust_remote_code": True, "allow_pickle": True}
        if wrong or bad.items() & said.items() or what in ("eval", "exec", "torch.hub.load", "load_pickle"):
            found.append(what)
    return found


@pytest.mark.parametrize("name", SOURCES)
def test_nothing_that_is_read_can_run_code(name):
    assert unsafe_reads(SOURCES[name]) == []


def test_what_could_run_code_is_recognised():
    for text, found in {
        "torch.load(p)": 1,
        "torch.load(p, weights_only=False)": 1,
        "torch.load(p, weights_only=True)": 0,
        "from pickle import load": 1,
        "import pickle\npickle.loads(b)": 1,
        "import pickle\ntry: f()\nexcept pickle.UnpicklingError: pass": 0,
        "class A(pickle.Unpickler):\n def find_class(self, m, n): ...": 0,
        "class A(pickle.Unpickler):\n def find_class(self, m, n): ...\npickle.Unpickler(f).load()": 1,
        "class A(pickle.Unpickler):\n def load_it(self): ...": 1,
        "AutoModelForCausalLM.from_pretrained(p, trust_remote_code=False)": 1,
        "AutoModelForCausalLM.from_pretrained(p, trust_remote_code=False, use_safetensors=True)": 0,
        "AutoTokenizer.from_pretrained(p)": 1,
        "AutoTokenizer.from_pretrained(p, trust_remote_code=True)": 1,
        "trainer.fit(m, ckpt_path=p)": 1,
        "np.load(p, allow_pickle=True)": 1,
        "eval(text)": 1,
    }.items():
        assert len(unsafe_reads(ast.parse(text))) == found, text


# --- a full disk


def limited(work, *arguments):
    """What ``work`` raises in a process whose files can't grow beyond 1000 bytes; ``None`` if nothing."""
    here, there = FORK.Pipe()

    def run():
        resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, resource.RLIM_INFINITY))  # Python ignores SIGXFSZ
        try:
            work(*arguments)
            there.send(None)
        except Exception as error:
            there.send((isinstance(error, OSError | SafetensorError), str(error)))

    process = FORK.Process(target=run)
    process.start()
    process.join(60)
    assert process.exitcode == 0
    return here.recv()


def half_region():
    return Region({"a": (200, 200)}, {"a": torch.arange(0, 40_000, 2)}, {"kind": "core"})


def write_results(path):
    results = Results(path.parent, experiment="x", seed=0, model={"name": "tiny"})
    for samples in range(40):
        row = {"stage": "training", "samples": samples, "lang": "zh", "split": "test", "seed": 0, "num_bytes": 9}
        results.add(row | {"nats_per_token": 1.0, "bits_per_byte": 1.0, "num_tokens": 3})
    results.write()


def write_tensors(path):
    safetensors_writer.write_safetensors(path, {"a": (50, 50)}, [torch.zeros(50, 50)], {})


WAYS = {
    "text.txt": lambda path: atomic_files.write_text(path, "x" * 5000),
    "tensors.safetensors": write_tensors,
    "region.safetensors": lambda path: half_region().save(path),
    "results.json": write_results,
    "picture.png": lambda path: save_picture(Figure(), path),
    "flagged.jsonl": lambda path: atomic_files.append_line(path, "x" * 5000),
}


@pytest.mark.parametrize("name", WAYS)
def test_a_file_that_does_not_fit_on_the_disk_stays_as_it_was(tmp_path, name):
    (tmp_path / name).write_text("old\n")
    known, message = limited(WAYS[name], tmp_path / name)
    assert known
    assert str(tmp_path / name) in message
    assert "\n" not in message
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "old\n"
    WAYS[name](tmp_path / name)  # with room it is written
    assert (tmp_path / name).stat().st_size > LIMIT


def write_packed(folder, tokenizer):
    pack([Document(str(i), f"document {i}") for i in range(200)], tokenizer, folder, None)


def write_talks(folder, _):
    talks = [Conversation(str(i), []) for i in range(200)]
    pack_conversations(talks, lambda _: Encoded([1, 2, 3], [False, True, True]), folder, None, 8)


def write_artifact(folder, tokenizer):
    model = SimpleNamespace(save_pretrained=lambda *_, **__: None)  # its tokenizer is what does not fit
    artifact_cache.get(folder, "base", RECIPE, lambda temporary: loading.save(model, tokenizer, temporary))


def write_model(folder, tokenizer):
    with atomic_files.atomic_folder(folder) as temporary:
        save_file({"a": torch.zeros(1000)}, temporary / "model.safetensors")


@pytest.mark.parametrize("way", [write_packed, write_talks, write_artifact, write_model])
def test_a_folder_that_does_not_fit_on_the_disk_is_not_there(tmp_path, tokenizer, way):
    known, message = limited(way, tmp_path / "made", tokenizer)
    assert known, message
    assert [path for path in tmp_path.rglob("*") if path.suffix != ".lock" and path.name != "made"] == []
    assert not (tmp_path / "made").exists() or way is write_artifact  # that is the folder of all artifacts
    way(tmp_path / "made", tokenizer)
    assert any((tmp_path / "made").iterdir())


def test_packed_tokens_are_all_on_the_disk(tmp_path, tokenizer):
    write_packed(tmp_path / "made", tokenizer)
    packed = PackedTokens(tmp_path / "made")
    assert packed.ends[-1] + 1 == len(packed.tokens)


def test_a_disk_that_is_found_full_only_at_the_end_is_full(tmp_path, monkeypatch):
    """As on a network: writing seems to succeed."""

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    atomic_files.write_text(tmp_path / "a", "old")
    monkeypatch.setattr(os, "fsync", full)
    for write in (atomic_files.write_text, atomic_files.append_line):
        with pytest.raises(OSError, match=f"No space left on device: '{tmp_path}/a'"):
            write(tmp_path / "a", "new")
    with (
        pytest.raises(OSError, match=f"No space left on device: '{tmp_path}/folder'"),
        atomic_files.atomic_folder(tmp_path / "folder") as temporary,
    ):
        (temporary / "x").write_text("x")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text() == "old"


def test_errors_that_have_nothing_to_do_with_the_disk_are_passed_on(tmp_path):
    for error in (
        ConnectionResetError(errno.ECONNRESET, "reset"),
        FileNotFoundError(2, "gone", "other"),
        KeyError("x"),
    ):
        with pytest.raises(type(error)) as info, atomic_files.atomic_path(tmp_path / "a"):
            raise error
        assert "tmp" not in str(info.value)


# --- folders that can't be written


def test_a_disk_that_fills_while_text_is_copied_is_not_the_fault_of_the_text(tmp_path, monkeypatch):
    """Nor of an unknown job of a sweep: each says its folder."""

    def full(*_, **__):
        raise datasets.exceptions.DatasetGenerationError("An error occurred") from OSError(
            errno.ENOSPC, "No space left"
        )

    write_samples(tmp_path)
    monkeypatch.setattr(datasets, "load_dataset", full)
    done = run(tmp_path, "-m", "+experiment=recovery_frozen", "hydra.sweep.dir=all", expect=1)
    assert re.search(r"all/0-\S+: error: a file could not be written or read \(\[Errno 28\] No space left", done.stderr)
    assert "can't be read as .txt" not in done.stderr
    assert "can't be read as .txt" not in next(tmp_path.glob("all/*/results.json")).read_text(encoding="utf-8")


def test_a_file_in_place_of_a_folder_and_a_folder_in_place_of_a_file_are_named(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder" / "below").mkdir(parents=True)
    for write in (atomic_files.write_text, atomic_files.append_line):
        with pytest.raises(OSError, match=str(tmp_path / "file")):
            write(tmp_path / "file" / "a", "x")
        with pytest.raises(OSError, match=str(tmp_path / "folder")):
            write(tmp_path / "folder", "x")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["below", "file", "folder"]


@pytest.mark.skipif(not Path("/proc/self/fdinfo").exists(), reason="needs /proc, which even root can't write")
def test_a_read_only_folder_is_named():
    with pytest.raises(OSError, match="/proc/self/fdinfo"):
        atomic_files.write_text("/proc/self/fdinfo/a.txt", "x")
    with pytest.raises(OSError, match="/proc/self/fdinfo"), atomic_files.atomic_folder(Path("/proc/self/fdinfo/a")):
        pass


# --- folders that replace others


def test_a_folder_replaces_the_older_one_when_it_is_whole_and_not_before(tmp_path):
    def fill(text, fail=False):
        with atomic_files.atomic_folder(tmp_path / "model") as temporary:
            (temporary / text).write_text(text)
            if fail:
                raise RuntimeError("interrupted")

    fill("old")
    with pytest.raises(RuntimeError, match="interrupted"):
        fill("half", fail=True)
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["old"]
    fill("new")
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["new"]
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert stat.S_IMODE((tmp_path / "model").stat().st_mode) == 0o777 & ~atomic_files._umask()


def test_the_older_folder_comes_back_if_the_new_one_can_not_take_its_place(tmp_path, monkeypatch):
    with atomic_files.atomic_folder(tmp_path / "model") as temporary:
        (temporary / "old").touch()
    rename = Path.rename

    def refuse(path, target):
        if path.suffix == ".tmp":
            raise PermissionError("no")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(PermissionError), atomic_files.atomic_folder(tmp_path / "model") as temporary:
        (temporary / "new").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["model", "old"]


# --- killed processes, and two at once


def kill_inside(context, *arguments):
    """Kill a process within the block of a context manager; the temporary that it leaves."""
    here, there = FORK.Pipe()

    def run():
        with context(*arguments) as temporary:
            there.send(temporary)
            time.sleep(60)

    process = FORK.Process(target=run)
    process.start()
    temporary = here.recv()
    os.kill(process.pid, signal.SIGKILL)
    process.join(20)
    return temporary


@pytest.mark.parametrize("name", ["results.json", "no_suffix", "zh", "model [1].x"])
def test_what_a_killed_process_leaves_goes_a_day_later_and_what_others_write_stays(tmp_path, name):
    before = time.time() - 25 * 3600
    left = kill_inside(atomic_files.atomic_path, tmp_path / name)
    others = [tmp_path / f".{name}.lock", tmp_path / f".{name}.x.abcdefgh.tmp", tmp_path / f".other{left.suffix}"]
    for path in others:
        path.touch()
        os.utime(path, (before, before))
    atomic_files.write_text(tmp_path / name, "x")
    assert left.exists()  # it may belong to a living process
    os.utime(left, (before, before))
    atomic_files.write_text(tmp_path / name, "y")
    assert not left.exists()
    assert all(path.exists() for path in others)


def test_a_folder_that_a_killed_process_has_begun_goes_too(tmp_path):
    left = kill_inside(atomic_files.atomic_folder, tmp_path / "model")
    (left / "half").write_text("x")
    with atomic_files.atomic_folder(tmp_path / "model") as temporary:
        assert left.exists()
        (temporary / "whole").touch()
    os.utime(left, (0, 0))
    with atomic_files.atomic_folder(tmp_path / "model") as temporary:
        assert not left.exists()


def build_slowly(root, name, begun, said, seconds):
    """Build an artifact; what is said goes to the queue."""
    artifact_cache.say = said.put

    def build(folder):
        (folder / "half").write_text("x")
        begun.set()
        time.sleep(seconds)
        (folder / "half").rename(folder / "whole")

    artifact_cache.get(root, name, RECIPE, build)


def test_a_killed_builder_leaves_no_lock_and_no_half_artifact_and_who_waits_for_it_builds(tmp_path):
    begun, said, again = FORK.Event(), FORK.Queue(), FORK.Event()
    first = FORK.Process(target=build_slowly, args=(tmp_path, "base", begun, said, 60))
    first.start()
    assert begun.wait(20)
    second = FORK.Process(target=build_slowly, args=(tmp_path, "base", again, said, 0))
    second.start()
    assert said.get(timeout=20).startswith(f"waiting for process {first.pid} on ")
    assert not again.is_set()
    os.kill(first.pid, signal.SIGKILL)
    first.join(20)
    second.join(20)
    assert second.exitcode == 0
    folder = artifact_cache.find(tmp_path, "base", RECIPE)
    assert sorted(path.name for path in folder.iterdir()) == ["recipe.json", "whole"]
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".lock"] == [folder.name]


def test_what_a_killed_builder_leaves_is_removed_by_the_next_at_once(tmp_path):
    begun, said = FORK.Event(), FORK.Queue()
    first = FORK.Process(target=build_slowly, args=(tmp_path, "base", begun, said, 60))
    first.start()
    assert begun.wait(20)
    os.kill(first.pid, signal.SIGKILL)
    first.join(20)
    assert artifact_cache.find(tmp_path, "base", RECIPE) is None
    assert len(list(tmp_path.glob(".base-*.tmp/half"))) == 1
    folder = artifact_cache.get(tmp_path, "base", RECIPE, lambda temporary: (temporary / "whole").touch())
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".lock"] == [folder.name]


def test_packing_that_was_killed_begins_anew(tmp_path, tokenizer):
    (tmp_path / "tokens").mkdir()
    left = tmp_path / "tokens" / ".made.abcdefgh.tmp"
    left.mkdir()
    (left / "tokens.bin").write_text("half")
    write_packed(tmp_path / "tokens" / "made", tokenizer)
    assert not left.exists()
    assert len(PackedTokens(tmp_path / "tokens" / "made").ends) == 200


def test_a_saved_model_can_be_saved_again_in_its_place(tmp_path, llama, tokenizer):
    for _ in range(2):
        with atomic_files.atomic_folder(tmp_path / "model") as temporary:
            loading.save(llama, tokenizer, temporary)
    loaded = loading.load_model(tmp_path / "model")
    assert all(torch.equal(p, dict(llama.named_parameters())[name]) for name, p in loaded.named_parameters())
    shutil.rmtree(tmp_path / "model")
