"""The picture of single weights: geometric means by value."""

import math

import pytest

from lightning_langcore import plots
from lightning_langcore.plots import single_weights
from lightning_langcore.results.record import Results


def test_the_picture_shows_geometric_means_by_value_and_infinity_inside(tmp_path, monkeypatch):
    run_, measured = Results(tmp_path, experiment="x", seed=0, model={"name": "tiny"}), {"bits_per_byte": 1.0}
    about = {"samples": 0, "split": "test", "seed": 0, "num_tokens": 10, "num_bytes": 30, **measured}
    for lang, nats in (("en", 1.0), ("zh", 3.0)):
        run_.add({"stage": "base", "lang": lang, "nats_per_token": nats, **about})
        for variant, method, value, more in (
            ("a.weight[3]", "set", 2.0, 5.0),
            ("a.weight[3]", "set", 0.0, 4.0),
            ("a.weight[3]", "scale", 1.0, 9.0),
            ("a.weight[8]", "set", 4.0, math.inf),
            ("b.weight[1,2]", "set", 0.0, 1.0),
            ("core", "set", 0.0, 1.0),
        ):
            told = {"variant": variant, "method": method, "strength": value, "nats_per_token": nats + more}
            run_.add({"stage": "perturbed", "lang": lang, **told, **about})
    figures = []
    monkeypatch.setattr(single_weights, "save", lambda figure, _: figures.append(figure))
    plots.dimension_grid([run_], tmp_path / "x.png", {"a.weight[3]": "super weight", "a.weight[8]": "control"})
    (figure,) = figures
    first, second = (axes for axes in figure.axes if axes.get_visible())
    assert [axes.get_title() for axes in (first, second)] == ["a", "b"]
    base, line, beside = first.lines
    assert list(base.get_ydata()) == pytest.approx([math.exp(2.0)] * 2)
    assert list(line.get_xdata()) == [0.0, 2.0]
    assert list(line.get_ydata()) == pytest.approx([math.exp(6.0), math.exp(7.0)])
    assert (line.get_color(), beside.get_color()) == (plots.COLOURS["core"], plots.COLOURS["random"])
    assert (line.get_label(), beside.get_label()) == ("[3] super weight", "[8] control")
    (sign,) = first.texts
    assert (sign.get_text(), sign.xy[0]) == ("∞", 4.0)
    assert first.get_xlim()[0] < 0.0
    assert first.get_xlim()[1] > 4.0
    with pytest.raises(ValueError, match="no run has test rows"):
        plots.dimension_grid([Results(tmp_path, experiment="x", seed=0, model={})], tmp_path / "y.png")
