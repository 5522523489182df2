"""Response curves: what is drawn, and where."""

import math

import pytest
from matplotlib.image import imread

from lightning_langcore import plots
from tests.support.responses import BASE, WINDOW, add, even, line, make, panel


def test_response_curves_are_geometric_means_against_the_setting(tmp_path, drawn_on_disk):
    runs = []
    for seed, shift in ((0, 0.0), (1, 0.2)):
        for ratio, others in ((0.0, 0.6), (5.04, 0.1)):
            finals = {"zh": -1.0 + shift, "en": others + shift, "ar": others + 0.2 + shift}
            runs.append(make(tmp_path, seed=seed, ratio=ratio, finals=finals))
    plots.response_curves(runs, "ratio", tmp_path / "plots" / "mix.png")
    (figure,) = drawn_on_disk
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
