import math
from unittest import mock

import numpy as np
import pytest
from matplotlib.image import imread

from lightning_langcore import plots
from lightning_langcore.arms import points
from lightning_langcore.results import Results


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


@pytest.fixture
def drawn():
    """The figures that were saved, to look into."""
    figures = []
    save = plots._save

    def keep(figure, path):
        figures.append(figure)
        save(figure, path)

    with mock.patch.object(plots, "_save", keep):
        yield figures


def panel(figure, title):
    return next(axes for axes in figure.axes if axes.get_title() == title)


def line(axes, colour, dashed):
    lines = [one for one in axes.lines if one.get_color() == colour and len(one.get_xdata()) > 1]
    return next(one for one in lines if (one.get_linestyle() == "--") == dashed)


def test_curves_show_the_geometric_mean_of_the_seeds(tmp_path, drawn):
    runs = [make(tmp_path, seed=seed, values={"zh": (2.0, 7.0 + seed, 4.0, 3.0 + seed)}) for seed in (0, 1)]
    runs.append(make(tmp_path, frozen=False, values={"zh": (2.0, 7.0, 3.0, 2.0)}))
    plots.recovery_curves(runs, tmp_path / "plots" / "curves.png")
    axes = panel(drawn[0], "zh")
    frozen, free = line(axes, plots.COLOURS["core"], False), line(axes, plots.COLOURS["core"], True)
    assert list(frozen.get_xdata()) == [0, 100.5, 1000]
    expected = [math.sqrt(math.exp(7) * math.exp(8)), math.exp(4), math.sqrt(math.exp(3) * math.exp(4))]
    assert frozen.get_ydata() == pytest.approx(expected)
    assert free.get_ydata() == pytest.approx([math.exp(7), math.exp(3), math.exp(2)])
    band = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == pytest.approx((math.exp(3), math.exp(8)))
    assert [one.get_ydata()[0] for one in axes.lines if one.get_color() == "#8C8C8C"] == pytest.approx([math.exp(2)])
    low, high = axes.get_xlim()
    assert low < 0
    assert high > 1000
    legend = [text.get_text() for text in drawn[0].legends[0].get_texts()]
    assert legend == ["core, frozen", "core, free", "intact base"]
    assert imread(tmp_path / "plots" / "curves.png").shape[2] == 4
    assert [file.name for file in (tmp_path / "plots").iterdir()] == ["curves.png"]


def test_milestones_join_near_counts_of_different_seeds_only(tmp_path):
    place = {"stage": "training", "lang": "zh", "split": "test"}
    measured = {"bits_per_byte": 1.0, "num_tokens": 1, "num_bytes": 1}
    run = make(tmp_path, values={"zh": ()})
    for seed, samples, nats in ((0, 100, 4.0), (1, 105, 6.0), (0, 109, 3.0), (1, 200, 2.0)):
        run.add(place | measured | {"seed": seed, "samples": samples, "nats_per_token": nats})
    found = plots.milestones(points([run]))
    assert [(samples, value.mean) for samples, value in found] == [(102.5, 5.0), (109.0, 3.0), (200.0, 2.0)]


def test_curves_without_a_perturbation_start_at_the_base(tmp_path, drawn):
    run = make(tmp_path, values={"zh": (2.0, 4.0, 3.0)}, stages=("base", "training", "final"))
    plots.recovery_curves([run], tmp_path / "curves.png")
    curve = line(panel(drawn[0], "zh"), plots.COLOURS["core"], False)
    assert list(curve.get_xdata()) == [0, 100, 1000]
    assert curve.get_ydata()[0] == pytest.approx(math.exp(2))


def test_curves_leave_a_gap_and_a_sign_where_perplexity_is_infinite(tmp_path, drawn):
    plots.recovery_curves([make(tmp_path, values={"zh": (2.0, math.inf, 800.0, 3.0)})], tmp_path / "curves.png")
    axes = panel(drawn[0], "zh")
    curve = line(axes, plots.COLOURS["core"], False)
    assert list(np.isnan(curve.get_ydata())) == [True, True, False]
    assert [text.get_text() for text in axes.texts] == ["∞", "∞"]


@pytest.mark.parametrize(("count", "shape"), [(1, (1, 1)), (3, (1, 3)), (8, (2, 4)), (30, (5, 6))])
def test_one_panel_a_language_in_the_order_of_the_run(tmp_path, drawn, count, shape):
    languages = [f"l{number}" for number in range(count)]
    run = make(tmp_path, values=dict.fromkeys(reversed(languages), (2.0, 7.0, 4.0, 3.0)))
    plots.recovery_curves([run], tmp_path / "curves.png")
    shown = [axes for axes in drawn[0].axes if axes.get_visible()]
    assert [axes.get_title() for axes in shown] == languages[::-1]
    grid = drawn[0].axes[0].get_gridspec()
    assert (grid.nrows, grid.ncols) == shape


def test_nothing_to_draw_is_an_error(tmp_path):
    damaged = make(tmp_path, values={"zh": (2.0, 7.0)})
    with pytest.raises(ValueError, match="training or final"):
        plots.recovery_curves([damaged], tmp_path / "x.png")
    with pytest.raises(ValueError, match="perturbed"):
        plots.damage_bars([make(tmp_path, values={"zh": (2.0,)})], tmp_path / "x.png")
    assert not list(tmp_path.iterdir())


def test_bars_are_the_perturbed_perplexities(tmp_path, drawn):
    runs = [make(tmp_path, kind, values={"zh": (2.0, nats)}) for kind, nats in (("core", 7.0), ("random", 3.0))]
    runs.append(make(tmp_path, "core", frozen=False, values={"zh": (2.0, 7.0, 4.0, 3.0)}))
    runs.append(make(tmp_path, "peripheral", values={"zh": (2.0, math.inf)}))
    plots.damage_bars(runs, tmp_path / "bars.png")
    axes = drawn[0].axes[0]
    heights = [bar.get_height() for bar in axes.patches]
    top = axes.get_ylim()[1]
    assert heights == pytest.approx([math.exp(2), math.exp(3), top, math.exp(7)])
    assert [text.get_text() for text in axes.texts] == ["∞"]
    assert [text.get_text() for text in drawn[0].legends[0].get_texts()] == ["base", "random", "peripheral", "core"]


def test_damage_has_a_panel_for_each_setting(tmp_path):
    run = make(tmp_path, values={"zh": (2.0,)})
    for fraction, strength, nats in ((0.01, 1.0, 4.0), (0.05, 1.0, 6.0), (0.05, 5.0, 8.0)):
        place = {"stage": "perturbed", "samples": 0, "lang": "zh", "split": "test", "seed": 0}
        arm = {"variant": "core", "fraction": fraction, "method": "reinit", "strength": strength}
        run.add(place | arm | {"nats_per_token": nats, "bits_per_byte": 1.0, "num_tokens": 1, "num_bytes": 1})
    table = plots.damage(points([run]))
    nats = {
        title: {label: [point.nats for point in own] for label, own in bars.items()} for title, bars in table.items()
    }
    assert nats == {
        "1 %, strength 1": {"base": [2.0], "core": [4.0]},
        "5 %, strength 1": {"base": [2.0], "core": [6.0]},
        "5 %, strength 5": {"base": [2.0], "core": [8.0]},
    }
    plots.damage_bars([run], tmp_path / "bars.png")


@pytest.mark.parametrize("shape", [(128, 128), (344, 128), (128, 344), (300, 1), (7, 1000), (3, 2)])
def test_density_equals_a_count_in_a_dense_mask(shape):
    rng = np.random.default_rng(0)
    mask = rng.random(shape) < 0.05
    mask[shape[0] // 2] = True
    found = plots.density(np.flatnonzero(mask).astype(np.int32), *shape)
    assert max(found.shape) <= 64
    expected, held = np.zeros(found.shape), np.zeros(found.shape)
    for (row, column), inside in np.ndenumerate(mask):
        cell = row * found.shape[0] // shape[0], column * found.shape[1] // shape[1]
        expected[cell] += inside
        held[cell] += 1
    np.testing.assert_allclose(found, expected / held)


def test_density_of_large_int32_indices_does_not_overflow():
    rows, columns = 40_000, 40_000
    last = np.array([rows * columns - 1], dtype=np.int32)
    found = plots.density(last, rows, columns)
    assert found[-1, -1] == pytest.approx(1 / 625**2)
    assert np.count_nonzero(found) == 1


def test_heat_map_shows_six_of_many_layers_and_says_so(tmp_path, drawn):
    shapes = {f"model.layers.{layer}.mlp.up_proj.weight": (40, 16) for layer in range(32)}
    shapes |= {f"model.layers.{layer}.self_attn.q_proj.weight": (16, 16) for layer in range(32)}
    shapes |= {"model.embed_tokens.weight": (50, 16), "model.layers.0.input_layernorm.weight": (16,)}
    held = {"model.layers.31.self_attn.q_proj.weight": np.arange(16 * 4)}
    plots.region_heatmap(held, shapes, tmp_path / "region.png", "core")
    figure = drawn[0]
    labels = [axes.get_ylabel() for axes in figure.axes if axes.get_ylabel().startswith("layer")]
    assert labels == ["layer 0", "layer 6", "layer 12", "layer 19", "layer 25", "layer 31"]
    assert [axes.get_title() for axes in figure.axes if axes.get_title()] == ["q\n16 × 16", "up\n40 × 16"]
    assert figure.get_suptitle() == "core; 6 of 32 layers, evenly spaced"
    pictures = [axes.images[0] for axes in figure.axes if axes.images]
    assert len({picture.get_clim() for picture in pictures}) == 1
    assert pictures[-2].get_array()[0].tolist() == [1.0] * 4
    assert pictures[-2].get_array()[1:].max() == 0


def test_heat_map_refuses_what_it_can_not_place(tmp_path):
    with pytest.raises(ValueError, match="no shape for x"):
        plots.region_heatmap({"x": np.arange(3)}, {}, tmp_path / "region.png")
    with pytest.raises(ValueError, match="no matrix"):
        plots.region_heatmap({}, {"lm_head.weight": (8, 8)}, tmp_path / "region.png")
