"""The union table: every parameter in the file, few rows in the terminal."""

import pytest

from lightning_langcore.jobs.steps.union_table import UnionTable

KINDS = {"self_attn.q_proj.weight": (4, 4), "input_layernorm.weight": (4,)}


def table(num_layers):
    shapes = {"model.embed_tokens.weight": (8, 4), "model.norm.weight": (4,)}
    for layer in reversed(range(num_layers)):
        shapes |= {f"model.layers.{layer}.{kind}": shape for kind, shape in KINDS.items()}
    shares = {name: [0.5, 0.25] for name in shapes}
    shares |= {f"model.layers.{i}.self_attn.q_proj.weight": [i / 100, 0.0] for i in range(num_layers)}
    return UnionTable([0.01, 0.03], shares, shapes)


def test_the_file_has_every_parameter_in_natural_order(tmp_path):
    table(12).write(tmp_path / "union.csv")
    lines = (tmp_path / "union.csv").read_text().splitlines()
    assert lines[0] == "parameter,changed_more_than_0.01,changed_more_than_0.03"
    assert [line.split(",")[0] for line in lines if "q_proj" in line] == [
        f"model.layers.{i}.self_attn.q_proj.weight" for i in range(12)
    ]
    assert len(lines) == 1 + 2 + 24


def test_few_parameters_are_all_shown():
    assert [label for label, _ in table(2).rows()][-2:] == ["layers.1.self_attn.q_proj.weight", "norm.weight"]


def test_of_many_parameters_the_terminal_shows_kinds_and_some_layers(capsys, tmp_path):
    rows = dict(table(31).rows())
    assert rows["self_attn.q_proj.weight (31)"] == pytest.approx([0.15, 0.0])
    assert rows["embed_tokens.weight"] == [0.5, 0.25]
    assert [label for label in rows if label.startswith("layer ")] == [f"layer {i}" for i in (0, 8, 15, 22, 30)]
    assert rows["layer 30"] == pytest.approx([(16 * 0.30 + 4 * 0.5) / 20, (4 * 0.25) / 20])
    table(31).print(["es", "zh"], tmp_path / "union.csv")
    shown = capsys.readouterr().out
    assert "each of the 64 parameters: " in shown
    assert "30.000" not in shown
