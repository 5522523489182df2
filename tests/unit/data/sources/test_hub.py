"""Datasets as the hub lays them out, on disk: what is read, in which order, and what is said where it can't be."""

import gzip
import json
from collections import Counter
from itertools import pairwise

import datasets
import httpx
import huggingface_hub
import pyarrow
import pytest
from huggingface_hub import errors
from pyarrow import parquet

from lightning_langcore.data.sources.base import Document, Splitter
from lightning_langcore.data.sources.hub import START, HubSource, open_dataset, shuffled_chunks

BOTH = pytest.mark.parametrize("streaming", [True, False], ids=["streamed", "downloaded"])


def card(root, **configs):
    """A README.md as the hub's, that names the files of each split of each config."""
    lines = ["---", "configs:"]
    for config, splits in configs.items():
        lines += [f"- config_name: '{config}'", "  data_files:"]
        lines += [f"  - split: {split}\n    path: {path}" for split, path in splits.items()]
    (root / "README.md").write_text("\n".join([*lines, "---", "# A dataset"]))


def wikipedia(root, languages=("ru", "zh"), shards=4, rows=30):
    """Parquet, a config for each language; shard s holds the articles s * rows ..."""
    for language in languages:
        folder = root / f"20231101.{language}"
        folder.mkdir(parents=True)
        for shard in range(shards):
            numbers = [shard * rows + i for i in range(rows)]
            table = {
                "id": [str(n) for n in numbers],
                "text": [f"{language} article {n} " + "word " * (n % 7) for n in numbers],
            }
            parquet.write_table(pyarrow.table(table), folder / f"train-{shard:05d}-of-{shards:05d}.parquet")
    card(root, **{f"20231101.{language}": {"train": f"20231101.{language}/*"} for language in languages})
    return root


def c4(root, shards=2, rows=30):
    """Gzipped lines of JSON, with two splits."""
    (root / "en").mkdir(parents=True)
    for shard in range(shards):
        lines = [{"text": f"page {shard * rows + i}", "url": "http://x"} for i in range(rows)]
        with gzip.open(root / "en" / f"c4-train.{shard:05d}-of-{shards:05d}.json.gz", "wt") as file:
            file.write("\n".join(map(json.dumps, lines)))
    with gzip.open(root / "en" / "c4-validation.json.gz", "wt") as file:
        file.write('{"text": "held out", "url": ""}\n')
    card(root, en={"train": "en/c4-train.*.json.gz", "validation": "en/c4-validation*.json.gz"})
    return root


def wiki_source(tmp_path, language="zh", **changes):
    root = tmp_path / "wiki"
    if not root.exists():
        wikipedia(root)
    options = {"cache_dir": tmp_path / "cache", "shuffle_buffer": 20, **changes}
    return HubSource(root, {language: f"20231101.{language}"}, **options)


def numbers(documents):
    return [int(document.text.split()[2]) for document in documents]


# --- what is read, and in which order


@BOTH
def test_every_document_of_the_config_is_read_once_and_its_text_is_its_key(tmp_path, streaming):
    source = wiki_source(tmp_path, "ru", streaming=streaming)
    documents = list(source.documents("ru"))
    assert sorted(numbers(documents)) == list(range(120))
    assert all(d.key == d.text and d.tag is None and d.text.startswith("ru article") for d in documents)
    assert source.languages == ["ru"]


@BOTH
def test_splits_of_gzipped_json_lines(tmp_path, streaming):
    root = c4(tmp_path / "c4")
    options = {"streaming": streaming, "cache_dir": tmp_path / "cache"}
    assert Counter(d.text for d in HubSource(root, {"en": "en"}, **options).documents("en")) == Counter(
        f"page {i}" for i in range(60)
    )
    held_out = HubSource(root, {"en": "en"}, split="validation", **options)
    assert [d.text for d in held_out.documents("en")] == ["held out"]


@BOTH
def test_the_seed_decides_an_order_in_which_neighbours_are_parted(tmp_path, streaming):
    found = {seed: numbers(wiki_source(tmp_path, streaming=streaming, seed=seed).documents("zh")) for seed in range(3)}
    assert found[0] == numbers(wiki_source(tmp_path, streaming=streaming, seed=0).documents("zh"))
    assert len({tuple(order) for order in found.values()}) == 3
    for order in found.values():
        assert sorted(order) == list(range(120))
        assert sum(b - a == 1 for a, b in pairwise(order)) < 15  # a shuffle leaves 1 of 119 on average


@BOTH
def test_without_a_buffer_the_order_is_the_datasets(tmp_path, streaming):
    assert numbers(wiki_source(tmp_path, streaming=streaming, shuffle_buffer=0).documents("zh")) == list(range(120))


def test_streamed_shards_come_in_a_seeded_order_and_a_chunk_is_shuffled(tmp_path):
    """The first 20 documents are a chunk of 20 out of one shard of 30."""
    first = {seed: numbers(wiki_source(tmp_path, seed=seed).documents("zh"))[:20] for seed in range(12)}
    for chunk in first.values():
        assert len({n // 30 for n in chunk}) == 1
        assert sorted(n % 30 for n in chunk) == list(range(20))
        assert chunk != sorted(chunk)
    assert len({chunk[0] // 30 for chunk in first.values()}) >= 3


def test_chunks_hold_the_documents_between_two_positions_and_depend_on_nothing_before():
    documents = [((0, i + 1), Document(str(i), str(i))) for i in range(25)]
    chunks = list(shuffled_chunks(documents, START, 10, [7]))
    assert [start for start, _ in chunks] == [(0, 0), (0, 10), (0, 20)]
    for start, chunk in chunks:
        plain = list(map(str, range(start[1], min(start[1] + 10, 25))))
        assert sorted(d.text for d in chunk) == sorted(plain)
        assert [d.text for d in chunk] != plain
        assert next(shuffled_chunks(documents[start[1] :], start, 10, [7])) == (start, chunk)
    assert [d.text for _, chunk in shuffled_chunks(documents, START, 0, [7]) for d in chunk] == list(
        map(str, range(25))
    )


@pytest.mark.parametrize("layout", ["parquet", "json", "downloaded"])
@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7])
def test_readers_share_the_documents_and_any_of_them_goes_on_from_any_position(tmp_path, layout, count):
    """With 4 shards (2 of json), so that a reader has shards of its own, or rows of all."""
    if layout == "json":
        source = HubSource(c4(tmp_path / "c4"), {"zh": "en"}, cache_dir=tmp_path / "cache")
    else:
        source = wiki_source(tmp_path, streaming=layout != "downloaded")
    readers = [list(source.read("zh", 1, (index, count))) for index in range(count)]
    whole = Counter(document.text for _, document in source.read("zh"))
    assert sum((Counter(document.text for _, document in reader) for reader in readers), Counter()) == whole
    for index, reader in enumerate(readers):
        for done in {1, len(reader) // 2, len(reader)}:
            assert list(source.read("zh", 1, (index, count), reader[done - 1][0])) == reader[done:]
    orders = [[document.text for _, document in source.read("zh", epoch)] for epoch in (0, 1)]
    assert Counter(orders[0]) == Counter(orders[1])
    assert layout == "json" or orders[0] != orders[1]


def test_text_that_is_empty_is_left_out_and_a_duplicate_never_stands_in_two_splits(tmp_path):
    root = tmp_path / "data"
    root.mkdir()
    texts = [None, "", " \n"] + [f"text {i % 40}" for i in range(120)]
    parquet.write_table(pyarrow.table({"body": texts}), root / "train.parquet")
    documents = list(HubSource(root, {"zh": None}, column="body").documents("zh"))
    assert Counter(d.text for d in documents) == {f"text {i}": 3 for i in range(40)}
    splitter = Splitter(0.3, 0.2, {"run": 1})
    places = {name: {d.text for d in splitter.choose(documents, name)} for name in ("test", "validation", "run")}
    assert all(places.values())
    assert sum(map(len, places.values())) == 40


# --- the digest


def test_the_digest_follows_what_is_read_and_how(tmp_path):
    first = wiki_source(tmp_path).digest()
    assert wiki_source(tmp_path).digest() == first
    others = {
        wiki_source(tmp_path, **change).digest()
        for change in (
            {"column": "id"}, {"split": "test"}, {"streaming": False}, {"shuffle_buffer": 0}, {"seed": 1},
            {"revision": "v1"}, {"language": "ru"},
        )
    }  # fmt: skip
    (tmp_path / "wiki" / "20231101.zh" / "train-00004-of-00004.parquet").write_bytes(b"another")
    others.add(wiki_source(tmp_path).digest())
    assert len(others | {first}) == 9


def test_the_digest_of_a_dataset_on_the_hub_is_that_of_its_commit(monkeypatch):
    def source():
        return HubSource("some/text", {"zh": None})

    asked = []

    def download(commit):
        def hf_hub_download(repo_id, filename, repo_type, revision, **_):
            asked.append((repo_id, filename, repo_type, revision))
            return f"/cache/datasets--some--text/snapshots/{commit}/README.md"

        return hf_hub_download

    found = {"unreachable": source().digest()}
    for commit in ("aaa", "bbb"):
        monkeypatch.setattr(huggingface_hub, "hf_hub_download", download(commit))
        found[commit] = source().digest()
        assert source().digest() == found[commit]
    assert len(set(found.values())) == 3
    assert set(asked) == {("some/text", "README.md", "dataset", None)}


# --- what can't be read


@BOTH
@pytest.mark.parametrize(
    ("config", "split", "message"),
    [
        ("xx", "train", r"wiki: it has no config 'xx', only 20231101\.ru, 20231101\.zh$"),
        (None, "train", r"wiki: it has several configs, name one of 20231101\.ru, 20231101\.zh$"),
        ("20231101.zh", "test", r"wiki: the config '20231101\.zh' has no split 'test', only train$"),
    ],
)
def test_a_config_or_split_that_is_missing_is_named_with_those_there_are(tmp_path, streaming, config, split, message):
    with pytest.raises(ValueError, match=r"data\.talks=.*" + message):
        open_dataset(str(wikipedia(tmp_path / "wiki")), config, split, streaming, tmp_path, setting="data.talks")


@BOTH
@pytest.mark.parametrize("name", ["corpus.py", "loader.py"])
def test_a_dataset_that_is_a_script_says_why_it_does_not_load(tmp_path, streaming, name):
    root = tmp_path / "corpus"
    root.mkdir()
    (root / name).write_text("import datasets\n")
    with pytest.raises(
        ValueError, match=r"data\.path=.*corpus: it holds a Python script instead of data files"
    ) as info:
        open_dataset(str(root), None, "train", streaming, tmp_path)
    assert "\n" not in str(info.value)
    assert "data.revision=refs/convert/parquet" in str(info.value)


@BOTH
@pytest.mark.parametrize(
    ("content", "column", "message"),
    [
        ({"body": ["x"], "id": ["1"]}, "text", r"has no column data\.column='text', only body, id"),
        ({"text": [1, 2]}, "text", r"the column data\.column='text' holds int, not text"),
        ({"text": [["a"], ["b"]]}, "text", r"the column data\.column='text' holds list, not text"),
        ({"text": ["", "  "]}, "text", r"is empty: no row has text in the column 'text'"),
    ],
)
@pytest.mark.parametrize("form", ["parquet", "json"])
def test_columns_without_text_are_refused_by_name(tmp_path, streaming, content, column, message, form):
    root = tmp_path / "data"
    root.mkdir()
    table = pyarrow.table(content)
    if form == "parquet":
        parquet.write_table(table, root / "train.parquet")
    else:
        (root / "train.jsonl").write_text("\n".join(map(json.dumps, table.to_pylist())))
    source = HubSource(root, {"zh": None}, column=column, streaming=streaming, cache_dir=tmp_path / "cache")
    with pytest.raises(ValueError, match=r"data\.path=.*data \(config 'default', split 'train'\).*" + message):
        list(source.documents("zh"))


@BOTH
def test_a_folder_without_data_and_a_dataset_without_rows_are_refused(tmp_path, streaming):
    (tmp_path / "none").mkdir()
    with pytest.raises(ValueError, match=r"data\.path=.*none: .*doesn't contain any data files"):
        open_dataset(str(tmp_path / "none"), None, "train", streaming)
    (tmp_path / "data").mkdir()
    parquet.write_table(pyarrow.table({"text": pyarrow.array([], pyarrow.string())}), tmp_path / "data" / "a.parquet")
    source = HubSource(tmp_path / "data", {"zh": None}, streaming=streaming, cache_dir=tmp_path / "cache")
    with pytest.raises(ValueError, match=r"one of its parquet files has no rows: remove it"):
        list(source.documents("zh"))


def test_a_stream_that_breaks_off_says_so_after_what_it_gave(tmp_path):
    source = wiki_source(tmp_path, shuffle_buffer=0)
    file = tmp_path / "wiki" / "20231101.zh" / "train-00001-of-00004.parquet"
    file.write_bytes(file.read_bytes()[:-20])
    documents = (document for _, document in source.read("zh"))
    assert numbers([next(documents) for _ in range(30)]) == list(range(30))
    with pytest.raises(ValueError, match=r"data\.path=.*'20231101\.zh'.* failed while it was read: .+") as info:
        next(documents)
    assert "\n" not in str(info.value)


def test_a_download_that_fails_says_why(tmp_path):
    source = wiki_source(tmp_path, streaming=False)
    file = tmp_path / "wiki" / "20231101.zh" / "train-00003-of-00004.parquet"
    parquet.write_table(pyarrow.table({"title": ["x"]}), file)
    with pytest.raises(ValueError, match=r"data\.path=.*wiki: its files do not have the same columns"):
        list(source.documents("zh"))


def test_settings_that_name_no_text_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"data\.configs=\{\} must name a config for each language"):
        HubSource("x", {})
    with pytest.raises(ValueError, match=r"data\.configs=\{False: 'no'\} .* in quotes"):
        HubSource("x", {False: "no"})
    with pytest.raises(ValueError, match=r"data\.shuffle_buffer=-1"):
        HubSource("x", {"zh": None}, shuffle_buffer=-1)
    with pytest.raises(ValueError, match=r"data\.configs has no config for the language 'ar', only zh"):
        list(wiki_source(tmp_path).documents("ar"))


def test_a_path_that_is_neither_a_folder_nor_reachable_says_both_ways_out(tmp_path):
    with pytest.raises(ValueError, match=r"data\.path=.*nowhere: there is no such folder"):
        open_dataset(str(tmp_path / "nowhere"), None, "train", True)
    with pytest.raises(ValueError, match=r"data\.path=some/text: the hub can't be reached: .*HF_HUB_OFFLINE=1") as info:
        open_dataset("some/text", None, "train", True)
    assert "the folder of a downloaded copy" in str(info.value)


class Hub:
    """Stands in for the hub's answers below ``datasets``; files named by their path, or the error that it gives."""

    def __init__(self, monkeypatch, files, error=None):
        self.files, self.error = files, error
        monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(datasets.load.HfApi, "hf_hub_download", self.download)

    def download(self, repo_id, filename, **_):
        if self.error is not None:
            raise self.error
        if filename in self.files:
            return f"/cache/snapshots/abc/{filename}"
        raise errors.EntryNotFoundError("404", response=answer(404))


def answer(status):
    return httpx.Response(status, request=httpx.Request("HEAD", "https://huggingface.co"))


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (errors.GatedRepoError("gated", response=answer(401)), r"it is gated: accept its terms .* `hf auth login`"),
        (errors.GatedRepoError("gated", response=answer(403)), r"it is gated: accept its terms .* `hf auth login`"),
        (
            errors.RepositoryNotFoundError("none", response=answer(404)),
            r"no such dataset on the hub that you can access",
        ),
        (errors.RevisionNotFoundError("none", response=answer(404)), r"Revision 'v9' doesn't exist"),
        (httpx.ConnectError("no route"), r"the hub can't be reached: there is no network"),
        (httpx.ReadTimeout("slow"), r"the hub can't be reached: there is no network"),
        (None, r"it holds a Python script instead of data files"),
    ],
)
def test_what_the_hub_answers_becomes_one_sentence(monkeypatch, error, message):
    Hub(monkeypatch, files=["README.md", "text.py"], error=error)
    with pytest.raises(ValueError, match=r"^data\.path=some/text: .*" + message) as info:
        open_dataset("some/text", "zh", "train", True, revision="v9")
    assert "\n" not in str(info.value)


# --- datasets that save_to_disk wrote


@BOTH
def test_a_dataset_of_save_to_disk_is_read(tmp_path, streaming):
    datasets.disable_progress_bars()
    train, test = (datasets.Dataset.from_dict({"text": texts, "id": [1] * len(texts)}) for texts in (["a", "b"], ["c"]))
    datasets.DatasetDict({"train": train, "test": test}).save_to_disk(tmp_path / "splits")
    train.save_to_disk(tmp_path / "languages" / "zh")
    options = {"streaming": streaming, "shuffle_buffer": 0, "cache_dir": tmp_path / "cache"}
    for path, configs, language, expected in (
        (tmp_path / "splits", {"en": None}, "en", ["a", "b"]),
        (tmp_path / "languages" / "zh", {"zh": None}, "zh", ["a", "b"]),
        (tmp_path / "languages", {"zh": "zh"}, "zh", ["a", "b"]),
    ):
        source = HubSource(path, configs, **options)
        assert [document.text for document in source.documents(language)] == expected
    source = HubSource(tmp_path / "splits", {"en": None}, split="test", **options)
    assert [document.text for document in source.documents("en")] == ["c"]
    with pytest.raises(ValueError, match=r"data\.path=.*splits: it has no split 'dev', only train, test"):
        list(HubSource(tmp_path / "splits", {"en": None}, split="dev", **options).documents("en"))
    (tmp_path / "splits" / "train" / "dataset_info.json").write_text("{")
    with pytest.raises(ValueError, match=r"data\.path=.*splits: ") as caught:
        list(HubSource(tmp_path / "splits", {"en": None}, **options).documents("en"))
    assert "\n" not in str(caught.value)


@BOTH
def test_a_column_that_changes_its_type_is_told_with_a_way_out(tmp_path, streaming):
    with (tmp_path / "train.jsonl").open("w") as file:
        file.writelines(json.dumps({"text": "word " * 2000, "id": i}) + "\n" for i in range(1100))
        file.write(json.dumps({"text": "last", "id": "wiki-7"}) + "\n")
    source = HubSource(tmp_path, {"en": None}, streaming=streaming, cache_dir=tmp_path / "cache")
    with pytest.raises(ValueError, match=r"a column changes its type.*: read the files with data=files"):
        list(source.documents("en"))
