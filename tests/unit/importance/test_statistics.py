"""Recorded statistics, and changes between checkpoints."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from lightning_langcore.importance.statistics import CheckpointChanges, RecordedStatistics
from lightning_langcore.models.safetensors_reader import Weights
from tests.support.models import tiny_llama

UP = "model.layers.0.mlp.up_proj.weight"


def test_recorded_statistics_come_from_the_folder_of_each(tmp_path):
    for folder, statistic, value in (("changes", "change", 1.0), ("fisher", "gradient_square", 2.0)):
        for number, language in enumerate(("zh", "ar")):
            (tmp_path / folder).mkdir(exist_ok=True)
            tensor = torch.full((2,), value + 10 * number)
            save_file({f"w|{statistic}": tensor}, tmp_path / folder / f"{language}.safetensors")
    known = RecordedStatistics({"change": tmp_path / "changes", "gradient_square": tmp_path / "fisher"}, ["zh", "ar"])
    assert known.languages == ["zh", "ar"]
    assert known.statistic("ar", "w", "change").tolist() == [11.0, 11.0]
    assert known.statistic("zh", "w", "gradient_square").tolist() == [2.0, 2.0]
    with pytest.raises(ValueError, match="no safetensors weights at"):
        RecordedStatistics({"change": tmp_path / "changes"}, ["ru"])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_changes_between_checkpoints_equal_plain_subtraction(tmp_path, dtype):
    base, after = tiny_llama().to(dtype), tiny_llama(seed=1).to(dtype)
    base.save_pretrained(tmp_path / "base", max_shard_size="40KB")
    after.save_pretrained(tmp_path / "zh")
    known = CheckpointChanges(Weights(tmp_path / "base"), {"zh": Weights(tmp_path / "zh")}, Weights(tmp_path / "base"))
    for (name, one), (_, other) in zip(base.named_parameters(), after.named_parameters(), strict=True):
        expected = np.abs(other.detach().float().numpy() - one.detach().float().numpy())
        assert np.array_equal(known.statistic("zh", name, "change").numpy(), expected)


def test_checkpoints_that_do_not_fit_or_are_not_finite_are_named(tmp_path):
    tiny_llama().save_pretrained(tmp_path / "base")
    tiny_llama(num_hidden_layers=1).save_pretrained(tmp_path / "shallow")
    tiny_llama(intermediate_size=48).save_pretrained(tmp_path / "narrow")
    base = Weights(tmp_path / "base")
    with pytest.raises(ValueError, match=r"job\.trained\.zh=.*shallow has model\.layers\.1\.\S+ not at all"):
        CheckpointChanges(base, {"zh": Weights(tmp_path / "shallow")}, base)
    with pytest.raises(ValueError, match=r"narrow has model\.layers\.0\.mlp\.\w+\.weight in shape .*48"):
        CheckpointChanges(base, {"zh": Weights(tmp_path / "narrow")}, base)
    for value, culprit in ((float("nan"), "zh"), (float("-inf"), "base")):
        broken, sound = tiny_llama(seed=2), tiny_llama()
        (broken if culprit == "zh" else sound).get_parameter(UP).data[3, 4] = value
        broken.save_pretrained(tmp_path / "zh")
        sound.save_pretrained(tmp_path / "base")
        known = CheckpointChanges(
            Weights(tmp_path / "base"), {"zh": Weights(tmp_path / "zh")}, Weights(tmp_path / "base")
        )
        with pytest.raises(ValueError, match=rf"{culprit}: {UP} holds a weight that is not finite"):
            known.statistic("zh", UP, "change")


def test_what_only_some_files_hold_need_not_match(tmp_path):
    """Files of LLaMA 2 hold buffers (rotary_emb.inv_freq), others a copy of a tied head."""
    for folder, more in (("base", {"inv_freq": torch.ones(3)}), ("zh", {}), ("ar", {"inv_freq": torch.ones(4)})):
        (tmp_path / folder).mkdir()
        save_file({"w": torch.ones(2), **more}, tmp_path / folder / "model.safetensors")
    trained = {lang: Weights(tmp_path / lang) for lang in ("zh", "ar")}
    known = CheckpointChanges(Weights(tmp_path / "base"), trained, ["w"])
    assert known.has("w", "change")
    assert not known.has("inv_freq", "change")
    assert not known.has("w", "gradient_sum")
    with pytest.raises(ValueError, match=r"job\.trained\.zh=\S+ has inv_freq not at all"):
        CheckpointChanges(Weights(tmp_path / "base"), trained, ["w", "inv_freq"])
