"""Trajectories: what is drawn, and where."""

import pytest

from lightning_langcore import plots
from tests.support.responses import WINDOW, even, line, make, panel


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
