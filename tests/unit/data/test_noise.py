"""Noise put into documents: what is inserted, where, how often, and that nothing else changes."""

import hashlib
import os
import re
import subprocess
import sys
from collections import Counter

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from lightning_langcore.data.noise import InstructionNoise, NonwordNoise, RepeatNoise
from lightning_langcore.data.phrasebook import LANGUAGES, document
from lightning_langcore.data.sources.base import Conversation, Document
from lightning_langcore.metrics.repetition import longest_repeat
from tests.support.paths import ROOT

CONF = ROOT / "conf" / "noise"
BURSTS = [RepeatNoise, NonwordNoise]
SCRIPTS = {"ru": "[\u0400-\u04ff]+", "ar": "[\u0600-\u06ff]+", "ko": "[\uac00-\ud7a3]+", "zh": "[\u4e00-\u9fff]+"}


def documents(lang, count=12):
    return [Document(f"0/{i}", document(lang, i)) for i in range(count)]


def units(text, lang):
    return list(text) if lang == "zh" else text.split()


def find_burst(before, after):
    """Where something was inserted and what; the only place, for repeats differ from what is beside them."""
    size = len(after) - len(before)
    found = [i for i in range(len(before) + 1) if after[:i] == before[:i] and after[i + size :] == before[i:]]
    assert found, "something else changed"
    return found[0], after[found[0] : found[0] + size]


def chat(key, user="Describe the big red house by the river", answer="It is big and red.", **more):
    messages = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hello"}]
    messages += [{"role": "assistant", "content": "Hi"}, {"role": "user", "content": user, **more}]
    return Conversation(key, [*messages, {"role": "assistant", "content": answer}])


# --- which documents


@pytest.mark.parametrize("rate", [0.0, 0.02, 0.1, 0.5, 1.0])
def test_the_rate_is_met_within_chance(rate):
    noise = RepeatNoise(rate, 3)
    texts = [Document(f"{i}", "one two three four") for i in range(4000)]
    hits = sum(noise.document(d) is not d for d in texts)
    assert abs(hits - 4000 * rate) <= 4 * (4000 * rate * (1 - rate)) ** 0.5


def test_hits_are_independent_of_order_and_dose_and_follow_key_text_and_seed():
    texts = [Document(f"{i}", f"one two three number {i}") for i in range(1000)]

    def hit(noise, rows=texts):
        return {d.key for d in rows if noise.document(d) is not d}

    low, high = hit(RepeatNoise(0.1, 2)), hit(RepeatNoise(0.3, 2))
    assert low < high
    assert hit(RepeatNoise(0.1, 2), texts[::-1]) == hit(RepeatNoise(0.1, 64, "end")) == hit(NonwordNoise(0.1, 5)) == low
    others = [
        hit(RepeatNoise(0.1, 2, seed=1)),
        hit(RepeatNoise(0.1, 2), [d._replace(text=d.text + ".") for d in texts]),
        {key[1:] for key in hit(RepeatNoise(0.1, 2), [d._replace(key="x" + d.key) for d in texts])},
    ]
    for other in others:  # by chance 10 are in both
        assert 60 < len(other) < 140
        assert len(low & other) < 30


def test_an_untouched_document_is_the_same_object_and_a_changed_one_keeps_its_key():
    for lang in LANGUAGES:
        for row in documents(lang):
            changed = NonwordNoise(0.5, 4).document(row)
            assert changed is row or (
                changed.key == row.key and changed.tag == "nonword:4" and changed.text != row.text
            )
            assert row.tag is None


def outcome():
    noises = [RepeatNoise(0.5, 7), NonwordNoise(0.5, 7), InstructionNoise(0.7)]
    rows = [d for lang in LANGUAGES for d in documents(lang, 4)]
    talks = [chat(f"{i}") for i in range(20)]
    changed = [noise.document(d) for noise in noises[:2] for d in rows]
    changed += [noise.conversation(c, chat("donor", user="bonjour")) for noise in noises for c in talks]
    return hashlib.sha256(repr(changed).encode()).hexdigest()


def test_another_process_with_another_hash_seed_does_the_same():
    code = "from tests.unit.data.test_noise import outcome; print(outcome())"
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "4711"}
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, env=env, cwd=ROOT, check=True, capture_output=True, text=True)
    assert run.stdout.strip() == outcome()


# --- bursts


@pytest.mark.parametrize("lang", LANGUAGES)
def test_a_repeat_is_one_word_of_the_document_exactly_so_often(lang):
    for length in (1, 32, 64):
        for row in documents(lang):
            after = RepeatNoise(1.0, length).document(row)
            before = units(row.text, lang)
            _, burst = find_burst(before, units(after.text, lang))
            assert after.tag == f"repeat:{length}"
            assert len(burst) == length
            assert len(set(burst)) == 1
            assert re.search(rf"{burst[0]}" if lang == "zh" else rf"(?<!\w){burst[0]}(?!\w)", row.text)
            bare = [word.strip(".,;:!?¿¡«»،؟؛。，") for word in units(after.text, lang)]
            if length > 1:
                assert longest_repeat(bare)[:2] == (length, 1)


@pytest.mark.parametrize("lang", LANGUAGES)
def test_nonwords_are_no_words_of_the_document_in_its_script_and_of_its_lengths(lang):
    lengths, expected = Counter(), Counter()
    for row in documents(lang):
        after = NonwordNoise(1.0, 50).document(row)
        before = units(row.text, lang)
        _, burst = find_burst(before, units(after.text, lang))
        assert after.tag == "nonword:50"
        assert len(burst) == 50
        script = SCRIPTS.get(lang, f"[{''.join(c for c in row.text.lower() if c.isalpha())}]+")
        assert all(re.fullmatch(script, word) for word in burst)
        if lang == "zh":
            assert "".join(burst) not in row.text
            assert len(set(burst)) > 45  # of 20902 ideographs
        else:
            assert not set(burst) & set(re.findall(r"\w+", row.text.lower()))
            lengths.update(map(len, burst))
            expected.update(map(len, re.findall(r"\w+", row.text)))
    if lang != "zh":
        mean, wanted = (sum(n * count for n, count in c.items()) / c.total() for c in (lengths, expected))
        assert abs(mean - wanted) < 0.15 * wanted + 0.3


@pytest.mark.parametrize("noise", BURSTS)
@pytest.mark.parametrize("lang", LANGUAGES)
def test_start_middle_and_end_are_kept(noise, lang):
    for row in documents(lang):
        before = units(row.text, lang)
        gaps = {}
        for position in ("start", "middle", "end"):
            after = units(noise(1.0, 9, position).document(row).text, lang)
            gaps[position], _ = find_burst(before, after)
        assert gaps["start"] == 0
        assert gaps["end"] == len(before)
        assert abs(gaps["middle"] - len(before) / 2) <= 1


@pytest.mark.parametrize("noise", BURSTS)
def test_random_is_anywhere_between_two_words(noise):
    text = "a1 b2 c3 d4 e5 f6 g7 h8 i9"
    found = Counter(
        find_burst(text.split(), noise(1.0, 2).document(Document(f"{i}", text)).text.split())[0] for i in range(1000)
    )
    assert sorted(found) == list(range(10))
    assert min(found.values()) > 60  # 100 in the mean, 4 standard deviations are 38
    assert max(found.values()) < 140


def test_the_rest_of_the_text_stays_to_the_letter():
    text = "  Oh, “no”!\n\n\tYes\u00a0: it is.\n"
    assert RepeatNoise(1.0, 2, "start", seed=1).document(Document("k", text)).text.endswith(text.lstrip())
    assert RepeatNoise(1.0, 2, "end", seed=1).document(Document("k", text)).text.startswith(text.rstrip() + " ")
    middle = RepeatNoise(1.0, 2, "middle").document(Document("k", text)).text
    word = re.search(r"(\w+) \1 ", middle)
    assert middle.replace(word[0], "", 1) == text


def test_chinese_with_spaces_and_japanese_are_texts_of_characters():
    texts = ["今天 天气 很好 。", "私はGPUで猫の写真を見ました。", "きょうはいいてんきです", "第 22 页 和 33 页"]
    for i, text in enumerate(texts * 10):
        after = RepeatNoise(1.0, 20).document(Document(f"{i}", text)).text
        assert len(after) == len(text) + 20
        count, period, start = longest_repeat(list(after))
        assert (count, period) == (20, 1)
        assert after[start] in text
        assert "GPU" in after or "GPU" not in text
        assert after[:start] + after[start + 20 :] == text


@pytest.mark.parametrize("noise", BURSTS)
def test_a_text_without_words_stays(noise):
    for text in ("", " \n", "… —!?", "。、"):
        row = Document("k", text)
        assert noise(1.0, 3).document(row) is row


def test_a_text_of_one_word_is_enough():
    assert RepeatNoise(1.0, 3, "end").document(Document("k", "Oh")).text == "Oh Oh Oh Oh"
    words = NonwordNoise(1.0, 5, "end").document(Document("k", "a A")).text.split()[2:]
    assert words == ["aa"] * 5


def test_nonwords_take_the_commonest_script():
    text = "Мы купили новый MacBook и поставили на него Windows и Linux, потому что так надо"
    words = NonwordNoise(1.0, 40, "start").document(Document("k", text)).text.split()[:40]
    assert all(re.fullmatch("[а-яё]+", word) for word in words)


# --- conversations


@pytest.mark.parametrize("noise", BURSTS)
def test_a_burst_goes_into_the_last_message_of_the_user(noise):
    talk = chat("k", name="Ann")
    changed = noise(1.0, 6, "end").conversation(talk)
    alone = noise(1.0, 6, "end").document(Document("k", talk.messages[3]["content"]))
    assert changed.messages[3] == {"role": "user", "content": alone.text, "name": "Ann"}
    assert changed.key == "k"
    assert changed.tag == f"{noise.kind}:6"
    assert [m for i, m in enumerate(changed.messages) if i != 3] == [m for i, m in enumerate(talk.messages) if i != 3]
    assert talk == chat("k", name="Ann")
    assert noise(0.0, 6).conversation(talk) is talk


def test_instructions_are_mangled_or_foreign_equally_often_and_answers_stay():
    tags, ways = Counter(), Counter()
    donor = chat("d", user="Décris la maison")
    for i in range(1000):
        talk = chat(f"{i}")
        changed = InstructionNoise(0.4).conversation(talk, donor)
        tags[changed.tag] += 1
        if changed.tag is None:
            assert changed is talk
            continue
        old, new = talk.messages[3]["content"], changed.messages[3]["content"]
        assert [*changed.messages[:3], changed.messages[4]] == [*talk.messages[:3], talk.messages[4]]
        assert changed.key == talk.key
        if changed.tag == "instruction:foreign":
            assert new == "Décris la maison"
        else:
            ways[way_of(old, new)] += 1
    assert abs(tags[None] - 600) < 4 * (1000 * 0.4 * 0.6) ** 0.5
    assert abs(tags["instruction:mangled"] - tags["instruction:foreign"]) < 4 * 400**0.5
    assert set(tags) == {None, "instruction:mangled", "instruction:foreign"}
    assert set(ways) == {"words", "letters", "cut"}
    assert min(ways.values()) > 30  # of about 200


def way_of(old, new):
    assert old != new
    before, after = old.split(), new.split()
    if sorted(before) == sorted(after):
        return "words"
    if [sorted(word) for word in before] == [sorted(word) for word in after]:
        return "letters"
    size = len(before) - len(after)
    assert size == len(before) // 2
    assert any(after == before[:i] + before[i + size :] for i in range(len(before)))
    return "cut"


@pytest.mark.parametrize("lang", LANGUAGES)
def test_every_language_can_be_mangled(lang):
    noise = InstructionNoise(1.0, ["mangled"])
    for row in documents(lang):
        talk = chat(row.key, user=row.text)
        new = noise.conversation(talk).messages[3]["content"]
        assert new != row.text
        assert not Counter(new.replace(" ", "")) - Counter(row.text.replace(" ", ""))  # nothing is added


def test_a_message_too_short_to_mangle_or_absent_stays():
    noise = InstructionNoise(1.0, ["mangled"])
    for talk in (chat("k", user="?"), chat("k", user=""), Conversation("k", [{"role": "assistant", "content": "Hi"}])):
        assert noise.conversation(talk) is talk
        assert RepeatNoise(1.0, 2).conversation(talk) is talk
    for i in range(20):
        assert noise.conversation(chat(f"{i}", user="to be")).tag == "instruction:mangled"
        assert noise.conversation(chat(f"{i}", user="1\n1")).messages[3]["content"] == "1"  # only a cut changes it


# --- refusals and settings


@pytest.mark.parametrize("noise", BURSTS)
def test_burst_settings_out_of_range_are_refused(noise):
    for rate in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match=rf"noise\.rate={rate}"):
            noise(rate, 3)
    for length in (0, -1, 2.5):
        with pytest.raises(ValueError, match=rf"noise\.length={length}"):
            noise(0.1, length)
    with pytest.raises(ValueError, match=r"noise\.position=front.*start, middle, end, random"):
        noise(0.1, 3, "front")


def test_instruction_noise_refuses_what_it_cannot_do():
    with pytest.raises(ValueError, match=r"noise\.rate=2"):
        InstructionNoise(2)
    for forms in ([], ["mangled", "odd"]):
        with pytest.raises(ValueError, match=r"noise\.forms=.*mangled, foreign"):
            InstructionNoise(0.1, forms)
    with pytest.raises(ValueError, match="task=sft"):
        InstructionNoise(0.0).document(Document("k", "text"))
    for donor in (None, Conversation("d", [{"role": "assistant", "content": "Hi"}])):
        with pytest.raises(ValueError, match=r"data\.languages.*noise\.forms=\[mangled\]"):
            InstructionNoise(1.0, ["foreign"]).conversation(chat("k"), donor)


@pytest.mark.parametrize("path", sorted(CONF.glob("*.yaml")), ids=lambda p: p.stem)
def test_every_choice_builds_its_noise(path):
    cfg = OmegaConf.create({"seed": 5, "noise": OmegaConf.load(path)})
    noise = instantiate(cfg.noise.inject, _convert_="all")
    assert cfg.noise.kind == path.stem
    if path.stem == "none":
        assert noise is None
        return
    settings = OmegaConf.to_container(cfg.noise, resolve=True)
    assert settings.pop("window") == [0.0, 1.0]
    del settings["inject"], settings["kind"]
    assert vars(noise) == settings
    assert settings["seed"] == 5
    assert type(noise).__name__.lower() == f"{path.stem}noise"
