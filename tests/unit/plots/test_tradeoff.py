"""Loss against gain: what is drawn, and where."""

from itertools import combinations

import numpy as np
import pytest

from lightning_langcore import plots
from tests.support.responses import BASE, BITS, line, make


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
    plots.tradeoff_curves(runs[::-1], tmp_path / "tradeoff.png")
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
    plots.tradeoff_curves(adapting(tmp_path), tmp_path / "tradeoff.png")
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
        lambda: plots.tradeoff_curves([make(tmp_path / "all", target=list(BASE))], tmp_path / "x.png"),
    ):
        with pytest.raises(plots.NothingToDrawError):
            draw()
    assert not (tmp_path / "x.png").exists()
