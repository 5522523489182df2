"""Records of runs that change the text, and where their curves are drawn."""

from lightning_langcore.results import effects
from lightning_langcore.results.conditions import labels
from lightning_langcore.results.record import Results

BASE = {"zh": 3.0, "en": 2.0, "ar": 4.0}
BITS = 0.5  # bits per byte to a nat per token, in these rows


def make(
    folder, experiment="mix_ratio", seed=0, finals=None, kind=None, fraction=0.05, split="test", trajectory=None, **data
):
    """A run on zh: ``finals`` are nats above the base by language, ``trajectory`` the same at inner milestones."""
    region = {"kind": kind, "fraction": fraction} if kind else None
    run = Results(folder, experiment=experiment, seed=seed, model={"name": "tiny"}, region=region)
    run.guard = {"num_frozen": 1, "max_abs_drift": 0.0} if kind else None
    run.data = {"target": ["zh"], "parts": [{"source": "zh", "language": "zh", "kind": "text", "tokens": 900}]} | data
    trajectory = {1000: finals or {"zh": -1.0, "en": 0.5, "ar": 0.7}} | (trajectory or {})
    for samples in (0, *sorted(trajectory)):
        stage = "base" if not samples else "final" if samples == 1000 else "training"
        for lang, above in (trajectory.get(samples) or dict.fromkeys(BASE, 0.0)).items():
            add(run, stage, samples, lang, BASE[lang] + above, split)
    run.status = "completed"
    return run


def add(run, stage, samples, lang, nats, split="test"):
    place = {"stage": stage, "samples": samples, "lang": lang, "split": split, "seed": run.seed}
    run.add(place | {"nats_per_token": nats, "bits_per_byte": nats * BITS, "num_tokens": 10, "num_bytes": 30})


def even(above):
    """The same change in every language."""
    return dict.fromkeys(BASE, above)


WINDOW = {"kind": "repeat", "rate": 0.1, "window": [0.2, 0.5]}


def line(axes, label):
    """The line of a panel that looks as its label in the legend."""
    handle = next(h for h in axes.figure.legends[0].legend_handles if h.get_label() == label)
    looks = ("get_color", "get_marker")
    found = [one for one in axes.lines if all(getattr(one, look)() == getattr(handle, look)() for look in looks)]
    return next(one for one in found if len(one.get_xdata()) > 1 or one.get_marker() != "None")


def panel(figure, start):
    return next(axes for axes in figure.axes if axes.get_title().startswith(start))


def told(runs, key):
    """Label -> value -> folders."""
    lines = effects.sweep(runs, key)
    named = labels(lines)
    return {
        named[condition]: {v: [run.folder.name for run in own] for v, own in lines[condition].items()}
        for condition in lines
    }
