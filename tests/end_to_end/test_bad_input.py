"""What a user may get wrong is one sentence that names the setting."""

import re

import pytest

from tests.support.commands import run, write_samples

BAD = {
    "region.fraction=0": "region.fraction=0 must be a number in (0, 1]",
    "region.fraction=1.5": "region.fraction=1.5 must be a number in (0, 1]",
    "region.fraction=many": "region.fraction=many must be a number in (0, 1]",
    "data.languages=[xx]": "data.languages: the language 'xx' is not in the data (en, es, ru, zh)",
    "region.recipe.languages=[es,ru,ko]": "region.recipe.languages: the language 'ko' is not in the data",
    "region.kind=middle": "region.kind=middle is none of core, peripheral, random, file",
    "region.score=fame": "region.score=fame is none of weight_change, relative_change",
    "perturbation.method=hit": "perturbation.method=hit is none of",
    "data.root=nowhere": "data.root=nowhere: there is no such folder",
    "+callbacks.empty={a: 1}": "callbacks.empty has no _target_",
    "data.num_tokens=9000000": "data.max_epochs=",
    "data.num_tokens=100": "less than one batch",
    "data.block_size=60000": "is more than the 512 positions",
    "job.ckpt_path=none.ckpt": "job.ckpt_path=none.ckpt: there is no such checkpoint",
    "optimizer.lr=1e30": "lower optimizer.lr",
    "job.objective=ppl/test/ko": "job.objective=ppl/test/ko: 'ko' is not evaluated, only en, es, ru, zh",
    "job.objective=ppl/test_answers": "job.objective=ppl/test_answers needs conversations",
    "hydra.job.chdir=true": "hydra.job.chdir=true would move every relative path",
    "job.name=cook": "job.name=cook is none of fit, locate, perturb, perturb_dimension, pretrain_base",
    "+trainer.max_epochs=3": "trainer.max_epochs=3 has no meaning here",
    "hydra.run.dir=text/zh.txt/run": "is a file",
}


@pytest.mark.parametrize("setting", BAD)
def test_bad_input_is_one_sentence_with_the_setting(work, setting):
    done = run(work, "+experiment=recovery_frozen", setting, expect=1)
    assert BAD[setting] in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        (
            "region.recipe.tokens=90000",
            r"region\.recipe\.tokens=90000 is .* epochs of '\w\w' \(pool locate\), .* lower region\.recipe\.tokens, or",
        ),
        (
            "region.recipe.tokens=100",
            r"one batch of region\.recipe\.batch_size=8: raise region\.recipe\.tokens",
        ),
        ("model.base.tokens=2000000", r"or allow it with model\.base\.max_epochs=\d+"),
        ("data.num_tokens=900000", r"or allow it with data\.max_epochs=\d+"),
    ],
)
def test_too_little_text_is_found_before_anything_is_trained(tmp_path, setting, told):
    write_samples(tmp_path)
    done = run(tmp_path, "+experiment=recovery_frozen", setting, expect=1)
    assert re.search(told, done.stderr)
    assert "step 1 of" not in done.stderr
    assert not list(tmp_path.glob("artifacts/**/*.safetensors"))


def test_other_bad_regions_and_models(work):
    def refused(*words):
        done = run(work, "+experiment=recovery_frozen", *words, expect=1)
        assert "Traceback" not in done.stderr
        return done.stderr

    assert "no region file at" in refused("region=file", "region.file=none.safetensors")
    (work / "broken.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0nonsense")
    assert "not a readable region file" in refused("region=file", "region.file=broken.safetensors")
    (work / "pickled").mkdir()
    (work / "pickled/pytorch_model.bin").write_bytes(b"x")
    assert "no *.safetensors" in refused("model=hub", "model.path=./pickled")


def test_a_sweep_over_ranks_that_would_restart_it_is_refused(work):
    words = ["-m", "+experiment=recovery_frozen", "trainer=ddp", "hydra.sweep.dir=ranks"]
    assert "would begin the whole sweep" in run(work, *words, expect=1).stderr
