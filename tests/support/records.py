"""Records of runs with a few rows."""

from lightning_langcore.results.record import Results


def make(folder, **changes):
    settings = {"experiment": "recovery_frozen", "seed": 0, "model": {"name": "tiny"}, "region": {"kind": "core"}}
    return Results(folder, **(settings | changes))


def row(**changes):
    measured = {"nats_per_token": 2.0, "bits_per_byte": 1.2, "num_tokens": 100, "num_bytes": 300}
    return {"stage": "base", "samples": 0, "lang": "zh", "split": "test", "seed": 0} | measured | changes
