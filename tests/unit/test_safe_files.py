"""The package's source: one way to write a file, and nothing it reads can run code."""

import ast

import pytest

from tests.support.paths import PACKAGE

SOURCES = {str(path.relative_to(PACKAGE)): ast.parse(path.read_text("utf-8")) for path in sorted(PACKAGE.rglob("*.py"))}


WRITERS = {
    "write_text", "write_bytes", "savefig", "to_csv", "to_json", "to_parquet", "save_pretrained", "save_to_disk",
    "tofile", "copyfile", "copy", "copy2", "copytree", "link", "symlink_to", "hardlink_to", "touch",
}  # fmt: skip
OWNED_WRITERS = {"torch.save", "np.save", "np.savez", "json.dump", "pickle.dump", "shutil.move"}
ATOMIC = {"atomic_path", "atomic_folder"}
INSIDE = "writes into a folder that make_once publishes when it is whole"
MAY_WRITE = {
    "data/packing/documents.py": INSIDE,
    "data/packing/conversations.py": INSIDE,
    "data/packing/manifest.py": INSIDE,
    "models/loading.py": "save() fills a folder of the caller's, which atomic_folder or artifact_cache.get publishes",
    "jobs/steps/statistics.py": INSIDE,
    "training/checkpointing.py": "StepCheckpoint writes beside its place and renames",
    "utils/atomic_files.py": "the one place that writes",
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
        if method in ("from_pretrained", "from_config") and "GenerationConfig" not in what:  # that one has no code
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
