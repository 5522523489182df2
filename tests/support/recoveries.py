"""Records of recoveries, and where their curves are drawn."""

from lightning_langcore.results.record import Results


def make(folder, kind="core", frozen=True, seed=0, values=None, stages=("base", "perturbed", "training", "final")):
    """``values``: nats by stage and language; the last two stages lie at 100 and 1000 documents."""
    run = Results(folder, experiment="recovery", seed=seed, model={"name": "tiny"}, region={"kind": kind})
    run.guard = {"num_frozen": 1, "max_abs_drift": 0.0} if frozen else None
    values = values or {"zh": (2.0, 7.0, 4.0, 3.0), "en": (2.5, 8.0, 5.0, 4.0)}
    samples = {"base": 0, "perturbed": 0, "training": 100 + seed, "final": 1000}
    for lang, nats in values.items():
        for stage, value in zip(stages, nats, strict=False):
            place = {"stage": stage, "samples": samples[stage], "lang": lang, "split": "test", "variant": kind}
            measured = {"nats_per_token": value, "bits_per_byte": 1.0, "num_tokens": 10, "num_bytes": 30}
            run.add(place | measured | {"seed": seed})
    return run


def panel(figure, title):
    return next(axes for axes in figure.axes if axes.get_title() == title)


def line(axes, colour, dashed):
    lines = [one for one in axes.lines if one.get_color() == colour and len(one.get_xdata()) > 1]
    return next(one for one in lines if (one.get_linestyle() == "--") == dashed)
