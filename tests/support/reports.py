"""Records of every kind of run, and a parsed report page."""

import math
from html.parser import HTMLParser

from lightning_langcore.reports import page as page_
from lightning_langcore.results.record import Results

VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """Checks that tags balance; collects the text, the tables' cells, sources and links."""

    def __init__(self, text):
        super().__init__()
        self.open, self.text, self.sources, self.links, self.rows = [], "", [], [], []
        self.feed(text)
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.sources += [value for name, value in attrs if name == "src"]
        self.links += [value for name, value in attrs if name == "href"]
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag == "br" and {"td", "th"} & set(self.open):
            self.rows[-1][-1] += " "

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" in self.open:
            return
        self.text += data
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data


def make(folder, kind="core", frozen=True, seed=0, values=None, samples=1000, method="reinit"):
    """``values``: by language the nats of base, perturbed, an inner milestone, final; shorter is unfinished."""
    region = {"kind": kind, "fraction": 0.05, "num_weights": 39321} if kind else None
    run = Results(
        folder, experiment="recovery", seed=seed, model={"name": "tiny", "num_weights": 1053824}, region=region
    )
    run.guard = {"num_frozen": 39321, "max_abs_drift": 0.0} if frozen else None
    places = (("base", 0), ("perturbed", 0), ("training", 100), ("final", samples))
    for lang, nats in (values or {"zh": (2.0, 7.0, 4.0, 3.0)}).items():
        for (stage, count), value in zip(places, nats, strict=False):
            if value is not None:
                place = {
                    "stage": stage,
                    "samples": count,
                    "lang": lang,
                    "split": "test",
                    "seed": seed,
                    "method": method,
                }
                measured = {"nats_per_token": value, "bits_per_byte": 1.0, "num_tokens": 10, "num_bytes": 30}
                run.add(place | measured)
    run.status = "completed"
    return run


def family(folder, finals, lang="zh"):
    """``finals``: (kind, frozen, seed) -> final nats."""
    return [
        make(folder / f"{kind}_{frozen}_{seed}", kind, frozen, seed, {lang: (2.0, 7.0, 4.0, nats)})
        for (kind, frozen, seed), nats in finals.items()
    ]


def grid(folder, variants=("core", "random", "peripheral"), fractions=(0.01, 0.05), experiment="perturb_core"):
    """A run of the perturbation job: nothing trained."""
    run = Results(folder, experiment=experiment, seed=0, model={"name": "tiny"}, region={"score": "taylor"})
    plain = {"samples": 0, "split": "test", "seed": 0, "bits_per_byte": 1.0, "num_tokens": 9, "num_bytes": 20}
    for lang in ("zh", "en"):
        run.add({**plain, "stage": "base", "lang": lang, "nats_per_token": math.log(5)})
        for place, (variant, fraction) in enumerate((v, f) for v in variants for f in fractions):
            about = {"stage": "perturbed", "variant": variant, "fraction": fraction, "method": "set", "strength": 2.0}
            run.add({**plain, **about, "lang": lang, "nats_per_token": math.log(10 + place)})
    run.status = "completed"
    run.write()
    return run


def page_of(runs, folder):
    return Page(page_.write_html(runs, folder / "page.html").read_text(encoding="utf-8"))


def reading(folder, experiment, finals, seed=0, kind=None, fraction=None, during=None, split="test", **data):
    """A run on zh from an intact base: ``finals`` and ``during`` (at 400 of 1000 documents) are nats above it."""
    region = {"kind": kind, "fraction": fraction} if kind else None
    run = Results(folder, experiment=experiment, seed=seed, model={"name": "tiny"}, region=region)
    run.guard = {"num_frozen": 9, "max_abs_drift": 0.0} if kind else None
    part = {"source": "zh", "language": "zh", "kind": "text", "tokens": 9000, "epochs": 0.5, "documents": 90}
    run.data = {"target": ["zh"], "parts": [part], "epochs": 0.5} | data
    places = [("base", 0, dict.fromkeys(finals, 0.0)), ("training", 400, during), ("final", 1000, finals)]
    for stage, samples, above in places:
        for lang, nats in (above or {}).items():
            place = {"stage": stage, "samples": samples, "lang": lang, "split": split, "seed": seed}
            measured = {"nats_per_token": 3 + nats, "bits_per_byte": 2 + nats / 2, "num_tokens": 9, "num_bytes": 30}
            run.add(place | measured)
    run.status = "completed"
    return run


def mix(folder, others=(0.6, 0.1)):
    """``others``: nats that en and ar lose without general text and with five times as much."""
    runs = []
    for ratio, above in zip((0.0, 5.0), others, strict=True):
        runs.append(reading(folder / f"{ratio}", "mix_ratio", {"zh": -1.0, "en": above, "ar": above}, ratio=ratio))
        general = {"source": "general", "kind": "text", "tokens": int(9000 * ratio / 2), "documents": 40, "epochs": 0.1}
        runs[-1].data["parts"] += [general | {"language": lang} for lang in ("en", "ar")] if ratio else []
    return runs


NEW = ("Adapting: gain against loss", "What the mix did", "What epochs did", "What noise did", "The text that was read")
OLD = ("Frozen against free", "The cost of freezing", "Recovery", "Damage before training")


def headings(page):
    return [title for title in (*NEW, *OLD, "Language by language") if title in page.text]
