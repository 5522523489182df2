import math
from itertools import combinations

import numpy as np
import pytest
from matplotlib.image import imread

from lightning_langcore import plots
from lightning_langcore.results import effects, trajectories
from lightning_langcore.results.conditions import labels, over_seeds
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


def test_change_is_the_mean_over_the_languages_of_a_group(tmp_path):
    run = make(tmp_path, finals={"zh": -1.0, "en": 0.5, "ar": 0.7})
    for lang, above in (("zh", -2.0), ("en", -4.0)):
        add(run, "base", 0, lang, 5.0, "test_answers")
        add(run, "final", 1000, lang, 5.0 + above, "test_answers")
    assert effects.change(run, "target") == pytest.approx(-1.0)
    assert effects.change(run, "others") == pytest.approx(0.6)
    assert effects.change(run, "answers") == pytest.approx(-3.0)
    assert (effects.gain(run), effects.loss(run)) == pytest.approx((0.5, 0.3))
    run.data["target"] = list(BASE)
    assert effects.change(run, "others") is None


def test_change_of_what_is_not_finite(tmp_path):
    run = make(tmp_path, finals={"zh": math.inf, "en": 0.5, "ar": math.inf})
    del next(row for row in run.perplexity if row["lang"] == "ar" and row["stage"] == "base")["nats_per_token"]
    assert effects.change(run, "target") == math.inf
    assert effects.change(run, "others") == pytest.approx(0.5), "a language without a finite base says nothing"


def test_drift_is_the_last_finite_one(tmp_path):
    run = make(tmp_path)
    assert effects.drift(run, "region") is None
    run.drift = [{"samples": 1000, "region": 0.2, "rest": math.nan}, {"samples": 500, "region": 0.1, "rest": 0.3}]
    assert (effects.drift(run, "region"), effects.drift(run, "rest")) == (0.2, 0.3)


def told(runs, key):
    """Label -> value -> folders."""
    lines = effects.sweep(runs, key)
    named = labels(lines)
    return {
        named[condition]: {v: [run.folder.name for run in own] for v, own in lines[condition].items()}
        for condition in lines
    }


def test_a_ratio_is_one_line_though_the_target_is_read_more_often_without_the_others(tmp_path):
    runs = [make(tmp_path / f"{ratio}", ratio=ratio, epochs=3 / (1 + ratio)) for ratio in (9.96, 0.0, 5.04)]
    assert told(runs, "ratio") == {"no region, free": {0.0: ["0.0"], 5.0: ["5.04"], 10.0: ["9.96"]}}
    assert told(runs, "noise.rate") == {}


def test_only_an_experiment_that_changes_nothing_else_lends_its_runs(tmp_path):
    mixed = make(tmp_path / "mixed", "sft_mixed", ratio=5.0)
    plain = make(tmp_path / "plain", "sft")
    once = make(tmp_path / "once", "sft_epochs", epochs=1.0)
    often = make(tmp_path / "often", "sft_epochs", epochs=3.0)
    guarded = make(tmp_path / "guarded", "sft_guarded", kind="core")
    other = make(tmp_path / "other", "sft", target=["en"])
    found = told([mixed, plain, once, often, guarded, other], "ratio")
    assert list(found.values()) == [{0.0: ["plain"], 5.0: ["mixed"]}]
    assert list(told([mixed, plain, once, often], "epochs").values()) == [{1.0: ["once"], 3.0: ["often"]}]


def test_noise_makes_a_line_for_each_kind_guard_and_action_and_all_start_without_noise(tmp_path):
    runs = [make(tmp_path / "clean", "noise"), make(tmp_path / "clean_core", "noise", kind="core")]
    kinds = [{"kind": kind, "rate": 0.1, "length": 64} for kind in ("repeat", "nonword")]
    runs += [make(tmp_path / noise["kind"], "noise", noise=noise) for noise in kinds]
    runs.append(make(tmp_path / "guarded", "noise", kind="core", noise={"kind": "repeat", "rate": 0.1, "length": 64}))
    runs.append(make(tmp_path / "skipped", "noise", noise={"kind": "repeat", "rate": 0.1, "length": 64}))
    runs[-1].monitor = {"action": "skip"}
    assert told(runs, "noise.rate") == {
        "core, frozen": {0.0: ["clean_core"], 0.1: ["guarded"]},
        "no region, free (noise nonword)": {0.0: ["clean"], 0.1: ["nonword"]},
        "no region, free (noise repeat)": {0.0: ["clean"], 0.1: ["repeat"]},
        "no region, free (noise repeat, skip)": {0.1: ["skipped"]},
    }


def test_damaged_unfinished_and_old_runs_have_no_effects(tmp_path):
    perturbed, unfinished, old = (make(tmp_path / name, ratio=5.0) for name in ("damaged", "unfinished", "old"))
    add(perturbed, "perturbed", 0, "zh", 9.0)
    unfinished.perplexity = [row for row in unfinished.perplexity if row["stage"] != "final"]
    old.data = None
    assert told([perturbed, unfinished, old], "ratio") == {}
    assert effects.tradeoffs([perturbed, unfinished, old]) == {}


WINDOW = {"kind": "repeat", "rate": 0.1, "window": [0.2, 0.5]}


@pytest.mark.parametrize(
    ("trajectory", "final", "expected"),
    [
        ({100: 0.0, 200: 0.1, 400: 0.9, 500: 0.8, 600: 0.3, 700: 0.109, 800: 0.2}, 0.0, 200.0),  # 0.9 % above 0.1
        ({100: 0.0, 200: 0.1, 400: 0.9, 600: 0.111}, 0.2, math.inf),  # 1.1 % above it at best
        ({100: 0.0, 300: 0.9}, -0.5, 500.0),  # the end is the first milestone behind
        ({100: 0.0, 400: 0.9, 501: 0.0}, 0.0, 1.0),
        ({100: 0.2, 400: 0.209, 600: 0.1}, 0.209, 0.0),  # never more than 0.9 % above it
        ({100: 0.2, 400: 0.211, 600: 0.209}, 0.2, 100.0),  # 1.1 % above it for a while
        ({100: 0.2, 400: 0.2, 600: 0.3, 700: 0.2}, 0.2, 200.0),  # it left after the noise
        ({100: 0.2, 600: 0.2}, 0.2, 100.0),  # whether it left was not measured
        ({100: 0.2, 400: math.inf, 600: 0.2}, math.nan, 100.0),
        ({100: 0.2, 400: 0.9, 600: -0.3}, -0.4, 100.0),  # lower than before is back too
        ({100: 0.2, 400: math.inf, 600: math.inf, 700: 0.2}, 0.2, 200.0),
    ],
)
def test_time_to_recover(tmp_path, trajectory, final, expected):
    inner = {samples: even(above) for samples, above in trajectory.items()}
    run = make(tmp_path, trajectory=inner, finals=even(final), noise=WINDOW)
    assert trajectories.time_to_recover(run) == pytest.approx(expected)


def test_time_to_recover_can_not_be_told_without_noise_or_a_milestone_behind_it(tmp_path):
    assert trajectories.time_to_recover(make(tmp_path)) is None
    assert trajectories.time_to_recover(make(tmp_path, noise=WINDOW | {"window": [0.5, 1.0]})) is None
    assert trajectories.time_to_recover(make(tmp_path, noise=WINDOW | {"rate": 0.0})) is None
    untrained = make(tmp_path, trajectory={400: even(0.9), 501: even(0.0)}, finals=even(0.0), noise=WINDOW)
    assert trajectories.time_to_recover(untrained) is None, "the base is no level to come back to"
    assert trajectories.phases(untrained) == pytest.approx((None, 0.9, 0.0))


def reached(*places):
    return [{"samples": samples, "share": share} for samples, share in places]


LONGER = reached((0, 0.0), (100, 0.125), (400, 0.65), (1000, 1.0))  # the documents from 100 to 400 are longer


def test_shares_of_the_tokens_are_no_shares_of_the_documents(tmp_path):
    run = make(tmp_path, noise=WINDOW)
    assert trajectories.window(run) == (200, 500)
    run.data["course"] = LONGER[::-1]  # in any order
    assert trajectories.window(run) == pytest.approx((100 + 300 * 0.075 / 0.525, 100 + 300 * 0.375 / 0.525))
    assert trajectories.window(run, (0.0625, 1.0)) == pytest.approx((50, 1000))


def test_a_run_that_ended_early_has_the_window_of_the_planned_one(tmp_path):
    inner = {300: even(0.1), 600: even(0.8)}
    run = make(tmp_path, trajectory=inner, finals=even(0.9), noise=WINDOW)
    run.data["course"] = reached((300, 0.12), (600, 0.24), (1000, 0.4))
    assert trajectories.window(run) == pytest.approx((500, 1000))
    assert trajectories.phases(run) == pytest.approx((0.1, 0.9, 0.9))
    assert trajectories.time_to_recover(run) is None, "nothing was measured behind the noise"
    run.perplexity = [row for row in run.perplexity if row["stage"] != "final"]
    assert trajectories.window(run) == pytest.approx((500, 1000)), "not even a final row is needed"
    run.data["course"] = reached((1000, 0.19))
    assert trajectories.window(run) is None


@pytest.mark.parametrize(
    ("above", "expected"),  # the clean run drifts: 0.16 at 400, 0.24 at 600, 0.32 at 800
    [
        ({500: 0.9, 600: 0.5, 800: 0.329}, 300.0),
        ({500: 0.9, 600: 0.5, 800: 0.331}, 500.0),
        ({400: 0.169, 500: 0.2, 600: 0.249, 800: 0.329}, 0.0),
        ({500: 0.9, 600: 0.1}, 100.0),
    ],
)
def test_recovery_beside_a_clean_run_is_from_its_drift(tmp_path, above, expected):
    clean = make(tmp_path, trajectory={250: even(0.1), 500: even(0.2)}, finals=even(0.4), noise=WINDOW | {"rate": 0.0})
    inner = {samples: even(value) for samples, value in above.items()}
    run = make(tmp_path, trajectory=inner, finals=even(0.4), noise=WINDOW)
    assert trajectories.time_to_recover(run, clean) == pytest.approx(expected)


def test_a_clean_run_is_read_where_it_had_read_as_many_tokens(tmp_path):
    clean = make(tmp_path, trajectory={500: even(1.0)}, finals=even(0.0))
    run = make(tmp_path, trajectory={100: even(0.0), 300: even(2.0), 400: even(0.7)}, finals=even(0.0), noise=WINDOW)
    run.data["course"] = LONGER
    assert trajectories.time_to_recover(run, clean) == pytest.approx(400 - (100 + 300 * 0.375 / 0.525)), "0.7 at 65 %"
    run.data["course"] = reached((0, 0.0), (100, 0.125), (400, 0.66), (1000, 1.0))
    assert trajectories.time_to_recover(run, clean) == pytest.approx(1000 - (100 + 300 * 0.375 / 0.535)), "0.68 at 66 %"
    clean.data["course"] = reached((500, 0.3), (1000, 0.6))
    assert trajectories.time_to_recover(run, clean) is None, "the clean run did not come that far"


def test_the_partner_of_a_run_with_noise_is_equal_but_for_it(tmp_path):
    noise = WINDOW | {"length": 8}
    run, core = make(tmp_path, "noise", noise=noise), make(tmp_path, "noise", noise=noise, kind="core")
    clean, clean_core = make(tmp_path, "noise"), make(tmp_path, "noise", kind="core", noise=noise | {"rate": 0.0})
    others = [make(tmp_path, "other"), make(tmp_path, "noise", seed=1), make(tmp_path, "noise", epochs=3.0)]
    lonely = make(tmp_path, "noise", seed=2, noise=noise)
    found = effects.clean_partners([*others, run, core, lonely, clean, clean_core])
    assert found == {id(run): clean, id(core): clean_core}


def test_a_run_that_its_monitor_stopped_is_in_no_line(tmp_path):
    runs = [make(tmp_path / str(rate), "noise", noise=WINDOW | {"rate": rate}) for rate in (0.0, 0.1, 0.4)]
    stop = runs[-1]
    stop.status, stop.error = "interrupted", "NoiseSensitivity stopped the training before step 9"
    stop.data["course"] = reached((0, 0.0), (1000, 0.4))
    assert list(told(runs, "noise.rate").values()) == [{0.0: ["0.0"], 0.1: ["0.1"]}]
    stop.data["course"] = reached((0, 0.0), (1000, 1.0))
    assert list(told(runs, "noise.rate").values()) == [{0.0: ["0.0"], 0.1: ["0.1"], 0.4: ["0.4"]}]


def test_runs_are_grouped_by_what_was_asked_for(tmp_path):
    runs = [make(tmp_path / str(n), ratio=n, asked={"ratio": 6.0}) for n in (5.1, 4.6)]
    runs.append(make(tmp_path / "old", ratio=5.97))
    runs.append(make(tmp_path / "none", ratio=0.0, asked={}))
    assert list(told(runs, "ratio").values()) == [{0.0: ["none"], 6.0: ["5.1", "4.6", "old"]}]
    often = [make(tmp_path / str(n), "sft_epochs", epochs=n, asked={"epochs": m}) for n, m in ((0.9, 1), (2.6, 3))]
    assert list(told(often, "epochs").values()) == [{1.0: ["0.9"], 3.0: ["2.6"]}]


def test_phases_before_during_and_after(tmp_path):
    inner = {150: even(-0.1), 300: {"zh": 0.6, "en": 0.9, "ar": 0.3}, 400: even(0.2), 600: even(2.0)}
    run = make(tmp_path, trajectory=inner, finals=even(0.1), noise=WINDOW)
    assert trajectories.phases(run) == pytest.approx((-0.1, 0.6, 0.1))  # the mean of three languages
    assert trajectories.phases(run, languages=["en"]) == pytest.approx((-0.1, 0.9, 0.1))
    clean = make(tmp_path, trajectory=inner, finals=even(0.1))
    assert trajectories.phases(clean) is None
    assert trajectories.phases(clean, (0.5, 0.9)) == pytest.approx((0.2, 2.0, 0.1))


def test_validation_is_of_answers_where_there_are_some_and_turns_where_it_is_lowest(tmp_path):
    inner = {200: {"zh": -0.5, "en": 9.0, "ar": 9.0}, 500: {"zh": -0.2, "en": -9.0, "ar": -9.0}}
    run = make(tmp_path, trajectory=inner, finals=even(0.0), split="validation", epochs=10.0)
    assert dict(trajectories.validation(run)) == pytest.approx({0: 0.0, 200: -0.5, 500: -0.2, 1000: 0.0})
    assert trajectories.best_epoch(run) == pytest.approx(2.0)  # epochs
    for samples, nats in ((0, 4.0), (200, 3.0), (500, 2.0), (1000, 2.5)):
        stage = {0: "base", 1000: "final"}.get(samples, "training")
        add(run, stage, samples, "en", nats, "validation_answers")
    assert dict(trajectories.validation(run)) == pytest.approx({0: 0.0, 200: -1.0, 500: -2.0, 1000: -1.5})
    assert trajectories.best_epoch(run) == pytest.approx(5.0)
    assert trajectories.best_epoch(make(tmp_path)) is None, "the ends alone say nothing about a turn"


def test_adapting_leaves_out_what_is_read_elsewhere(tmp_path):
    runs = [make(tmp_path / f"ratio{n}", "mix_ratio", ratio=n) for n in (0.0, 5.0)]
    runs += [make(tmp_path / f"adapt{n}", "adapt_mixed", ratio=n) for n in (1.0, 5.0)]
    runs.append(make(tmp_path / "noise", noise=WINDOW))
    runs.append(make(tmp_path / "talk", "sft", parts=[{"source": "conversations", "kind": "conversations"}]))
    runs.append(make(tmp_path / "all", "adapt_free", target=list(BASE)))
    runs.append(make(tmp_path / "frozen", "own_name", kind="core"))
    assert [run.folder.name for run in effects.adapted(runs)] == ["adapt1.0", "adapt5.0", "frozen"]


def line(axes, label):
    """The line of a panel that looks as its label in the legend."""
    handle = next(h for h in axes.figure.legends[0].legend_handles if h.get_label() == label)
    looks = ("get_color", "get_marker")
    found = [one for one in axes.lines if all(getattr(one, look)() == getattr(handle, look)() for look in looks)]
    return next(one for one in found if len(one.get_xdata()) > 1 or one.get_marker() != "None")


def panel(figure, start):
    return next(axes for axes in figure.axes if axes.get_title().startswith(start))


def test_response_curves_are_geometric_means_against_the_setting(tmp_path, drawn):
    runs = []
    for seed, shift in ((0, 0.0), (1, 0.2)):
        for ratio, others in ((0.0, 0.6), (5.04, 0.1)):
            finals = {"zh": -1.0 + shift, "en": others + shift, "ar": others + 0.2 + shift}
            runs.append(make(tmp_path, seed=seed, ratio=ratio, finals=finals))
    plots.response_curves(runs, "ratio", tmp_path / "plots" / "mix.png")
    (figure,) = drawn
    assert [axes.get_title() for axes in figure.axes] == ["trained on (zh)", "other languages"]
    target, others = (line(axes, "no region, free") for axes in figure.axes)
    assert list(others.get_xdata()) == pytest.approx([0, 5.04])
    assert list(others.get_ydata()) == pytest.approx([math.exp(0.8), math.exp(0.3)])
    assert list(target.get_ydata()) == pytest.approx([math.exp(-0.9)] * 2)
    band = figure.axes[1].collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == pytest.approx((math.exp(0.2), math.exp(0.9)))
    low, high = figure.axes[0].get_ylim()
    assert low < math.exp(-1.0)
    assert high > math.exp(0.9)
    assert figure.axes[0].get_yscale() == "log"
    assert [tick.get_text() for tick in figure.axes[1].get_xticklabels()] == ["0", "×5"]
    assert imread(tmp_path / "plots" / "mix.png").shape[2] == 4


def test_response_curves_have_panels_for_answers_and_for_the_worst_of_the_noise(tmp_path, drawn):
    runs = [
        make(
            tmp_path,
            trajectory={400: even(3 * rate)},
            finals=even(rate),
            target=list(BASE),
            noise=WINDOW | {"rate": rate},
        )
        for rate in (0.0, 0.1, 0.4)
    ]
    plots.response_curves(runs, "noise.rate", tmp_path / "noise.png")
    worst = line(panel(drawn[0], "all, worst"), "no region, free")
    assert list(worst.get_ydata()) == pytest.approx([1.0, math.exp(0.3), math.exp(1.2)])
    assert "other languages" not in [axes.get_title() for axes in drawn[0].axes]
    for run, above in zip(runs, (0.0, -1.0, math.inf), strict=True):
        add(run, "base", 0, "zh", 5.0, "test_answers")
        add(run, "final", 1000, "zh", 5.0 + above, "test_answers")
    plots.response_curves(runs, "noise.rate", tmp_path / "noise.png")
    answers = panel(drawn[1], "held-out answers")
    heights = line(answers, "no region, free").get_ydata()
    assert list(heights[:2]) == pytest.approx([1.0, math.exp(-1.0)])
    assert math.isnan(heights[2])
    assert [text.get_text() for text in answers.texts] == ["∞"]


def test_response_curves_after_conversations_show_answers_first_and_general_text(tmp_path, drawn):
    parts = [{"source": "conversations", "language": "zh", "kind": "conversations"}]
    runs = [make(tmp_path, "sft_epochs", epochs=epochs, parts=parts) for epochs in (1.0, 3.0)]
    for run in runs:
        add(run, "base", 0, "zh", 5.0, "test_answers")
        add(run, "final", 1000, "zh", 4.0, "test_answers")
    plots.response_curves(runs, "epochs", tmp_path / "sft.png")
    titles = [axes.get_title() for axes in drawn[0].axes]
    assert titles == ["held-out answers", "general text (zh)", "general text, others"]


def test_drift_curves_show_the_region_and_the_rest(tmp_path, drawn):
    runs = []
    for kind in (None, "core"):
        for epochs in (1.0, 3.0, 10.0):
            run = make(tmp_path, "sft_epochs", kind=kind, epochs=epochs)
            run.drift = [{"samples": 1000, "region": 0.0 if kind else 0.01 * epochs, "rest": 0.1 * epochs}]
            runs.append(run)
    plots.drift_curves(runs, "epochs", tmp_path / "drift.png")
    region, rest = panel(drawn[0], "inside"), panel(drawn[0], "all other")
    assert list(line(region, "core, frozen").get_ydata()) == [0.0, 0.0, 0.0]
    assert list(line(region, "no region, free").get_ydata()) == pytest.approx([0.01, 0.03, 0.1])
    assert list(line(rest, "no region, free").get_ydata()) == pytest.approx([0.1, 0.3, 1.0])
    assert list(line(rest, "no region, free").get_xdata()) == [1.0, 3.0, 10.0]
    assert region.get_ylim()[0] == 0


def test_time_course_shades_the_noise_and_rings_where_it_is_over(tmp_path, drawn):
    runs = []
    for seed in (0, 1):
        for rate in (0.0, 0.1):
            inner = {200: even(0.0), 400: even(4 * rate), 600: even(2 * rate), 800: even(0.0)}
            runs.append(
                make(tmp_path, "noise", seed, trajectory=inner, finals=even(0.0), noise=WINDOW | {"rate": rate})
            )
    plots.noise_trajectories(runs, tmp_path / "time.png")
    (axes,) = drawn[0].axes
    (shade,) = axes.patches
    assert (shade.get_x(), shade.get_width()) == (200, 300)
    curve = line(axes, "10 %")
    assert list(curve.get_xdata()) == [0, 200, 400, 600, 800, 1000]
    assert list(curve.get_ydata()) == pytest.approx([0, 0, 0.4, 0.2, 0, 0])
    rings = [one for one in axes.lines if one.get_markersize() > 10]
    assert [(ring.get_xdata()[0], ring.get_ydata()[0]) for ring in rings] == [(800, pytest.approx(0.0))]
    legend = [text.get_text() for text in drawn[0].legends[0].get_texts()]
    assert legend == ["no noise", "10 %", "back within 1 %", "noise"]


def test_time_course_rings_where_it_meets_the_clean_run(tmp_path, drawn):
    inner = {100: even(0.0), 400: even(0.9), 600: even(0.6), 800: even(0.3)}
    clean = {100: even(0.0), 800: even(0.3)}
    runs = [make(tmp_path, "noise", trajectory=inner, finals=even(0.3), noise=WINDOW)]
    plots.noise_trajectories(runs, tmp_path / "time.png")
    runs.append(make(tmp_path, "noise", trajectory=clean, finals=even(0.3)))
    plots.noise_trajectories(runs, tmp_path / "time.png")
    found = [[one.get_xdata()[0] for one in f.axes[0].lines if one.get_markersize() > 10] for f in drawn]
    assert found == [[], [800]]


def test_time_course_rings_nothing_where_a_seed_never_comes_back(tmp_path, drawn):
    runs = [
        make(
            tmp_path,
            "noise",
            seed,
            trajectory={400: even(0.4), 600: even(0.3 * seed)},
            finals=even(0.3 * seed),
            noise=WINDOW,
        )
        for seed in (0, 1)
    ]
    plots.noise_trajectories(runs, tmp_path / "time.png")
    assert not [one for one in drawn[0].axes[0].lines if one.get_markersize() > 10]


def test_validation_course_is_in_epochs_and_rings_the_best(tmp_path, drawn):
    runs = []
    for epochs in (1.0, 10.0):
        inner = {200: even(-0.5), 500: even(-0.2)} if epochs > 1 else {500: even(-0.2)}
        finals = even(0.1 if epochs > 1 else -0.4)
        runs.append(make(tmp_path, "sft_epochs", trajectory=inner, finals=finals, split="validation", epochs=epochs))
    plots.validation_trajectories(runs, tmp_path / "validation.png")
    assert not drawn[0].axes[0].patches
    axes = drawn[0].axes[0]
    assert list(line(axes, "10 epochs").get_xdata()) == pytest.approx([0, 2, 5, 10])
    assert list(line(axes, "10 epochs").get_ydata()) == pytest.approx([0, -0.5, -0.2, 0.1])
    rings = [one for one in axes.lines if one.get_markersize() > 10]
    assert [(r.get_xdata()[0], r.get_ydata()[0]) for r in rings] == [
        (1.0, pytest.approx(-0.4)),
        (2.0, pytest.approx(-0.5)),
    ]


def adapting(folder):
    runs = []
    for seed in (0, 1):
        shift = 0.2 * seed
        free = {"zh": -1.0 - shift, "en": 0.6, "ar": 1.0}
        runs.append(make(folder, "adapt_free", seed, free))
        runs.append(make(folder, "adapt_mixed", seed, {"zh": -0.9, "en": 0.1, "ar": 0.1}, ratio=5.0))
        for fraction, loss in ((0.01, 0.7), (0.05, 0.4), (0.5, 0.1)):
            for kind in ("core", "random"):
                finals = {"zh": -1.0 + fraction - shift, "en": loss, "ar": loss + (kind == "random") * 0.02}
                runs.append(make(folder, f"adapt_{kind}", seed, finals, kind, fraction))
    return runs


def test_tradeoff_is_loss_against_gain_through_the_fractions(tmp_path, drawn):
    runs = adapting(tmp_path)
    plots.tradeoff(runs[::-1], tmp_path / "tradeoff.png")
    (figure,) = drawn
    axes = figure.axes[0]
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["core, frozen", "random, frozen", "no region, free (plain)", "no region, free (general x5)"]
    core = line(axes, "core, frozen")
    assert list(core.get_xdata()) == pytest.approx([BITS * (1.1 - fraction) for fraction in (0.01, 0.05, 0.5)])
    assert list(core.get_ydata()) == pytest.approx([BITS * loss for loss in (0.7, 0.4, 0.1)])
    free = line(axes, "no region, free (plain)")
    assert (free.get_xdata()[0], free.get_ydata()[0]) == pytest.approx((BITS * 1.1, BITS * 0.8))
    crosses = [one for one in axes.lines if one.get_color() == free.get_color() and one.get_linewidth() < 1]
    ranges = [(np.ptp(one.get_xdata()), np.ptp(one.get_ydata())) for one in crosses]
    assert max(ranges) == pytest.approx((BITS * 0.2, 0))
    assert "zh" in axes.get_xlabel()


def test_tradeoff_writes_fractions_that_do_not_cover_each_other(tmp_path, drawn):
    plots.tradeoff(adapting(tmp_path), tmp_path / "tradeoff.png")
    texts = drawn[0].axes[0].texts
    assert sorted(text.get_text() for text in texts) == sorted(["1 %", "5 %", "50 %"] * 2)
    boxes = [text.get_window_extent() for text in texts]
    assert not [pair for pair in combinations(boxes, 2) if pair[0].overlaps(pair[1])]


def test_nothing_to_draw_is_an_error(tmp_path):
    plain = make(tmp_path / "run")
    for draw in (
        lambda: plots.response_curves([plain], "ratio", tmp_path / "x.png"),
        lambda: plots.drift_curves([make(tmp_path / "mixed", ratio=5.0)], "ratio", tmp_path / "x.png"),
        lambda: plots.noise_trajectories([plain], tmp_path / "x.png"),
        lambda: plots.validation_trajectories([plain], tmp_path / "x.png"),
        lambda: plots.tradeoff([make(tmp_path / "all", target=list(BASE))], tmp_path / "x.png"),
    ):
        with pytest.raises(plots.NothingToDrawError):
            draw()
    assert not (tmp_path / "x.png").exists()


def test_numbers_of_one_seed_are_averaged_before_seeds_are():
    assert over_seeds([(0, 1.0), (0, 3.0), (1, 5.0)]) == (3.5, 2.0, 5.0, 2)
    assert over_seeds([]) is None
