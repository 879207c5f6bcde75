from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

from trunkline.bots.offline.grammar import Grammar
from trunkline.bots.offline.recogniser import (
    DEFAULT_MIN_SCORE,
    Heard,
    Recogniser,
    recogniser_for,
)
from trunkline.errors import ConfigError

Phone = Callable[..., bytes]

SENTENCES = (
    "what are your opening hours",
    "i want to speak to a human",
    "transfer me to sales",
    "what is the weather today",
    "where are you located",
    "yes",
    "no",
    "goodbye",
)
STRANGE = (
    "can you book a table for two on friday",
    "i like pizza with extra cheese",
    "the quick brown fox jumps over the lazy dog",
    "i have a problem with my invoice",
)
LINE_RATE_HZ = 8000


def words(heard: Heard | None) -> str | None:
    return None if heard is None else heard.text


@pytest.fixture(scope="module")
def recogniser() -> Recogniser:
    return recogniser_for(Grammar.from_phrases(SENTENCES))


@pytest.mark.parametrize("gain", [0.3, 1.0])
@pytest.mark.parametrize("voice", ["en-us", "en-us+f2", "en-us+m3"])
def test_sentences_are_heard_through_pcmu(
    recogniser: Recogniser, phone: Phone, voice: str, gain: float
) -> None:
    heard = [
        recogniser.hear(phone(sentence, voice=voice, gain=gain), LINE_RATE_HZ)
        for sentence in SENTENCES
    ]
    right = [
        found is not None and found.text == sentence and found.score >= DEFAULT_MIN_SCORE
        for found, sentence in zip(heard, SENTENCES, strict=True)
    ]
    # The voices jitter, so one sentence of one voice may fail on a bad day.
    assert sum(right) >= len(SENTENCES) - 1, list(zip(SENTENCES, heard, strict=True))


def test_most_of_what_is_outside_the_grammar_is_refused(
    recogniser: Recogniser, phone: Phone
) -> None:
    heard = [
        recogniser.hear(phone(sentence, voice=voice), LINE_RATE_HZ)
        for sentence in STRANGE
        for voice in ("en-us", "en-us+f2", "en-us+m3")
    ]
    taken = [found for found in heard if found is not None and found.score >= DEFAULT_MIN_SCORE]
    assert len(taken) <= len(heard) // 3, taken


@pytest.mark.parametrize("level", [0, 30, 3000])
def test_silence_and_noise_are_not_words(recogniser: Recogniser, level: int) -> None:
    noise = np.random.default_rng(1).normal(0, level, 2 * LINE_RATE_HZ).astype("<i2").tobytes()
    found = recogniser.hear(noise, LINE_RATE_HZ)
    assert found is None or found.score < DEFAULT_MIN_SCORE


def test_very_little_audio_is_nothing(recogniser: Recogniser) -> None:
    assert recogniser.hear(b"", LINE_RATE_HZ) is None
    assert recogniser.hear(b"\1\0", LINE_RATE_HZ) is None


def test_half_a_sample_is_refused_and_the_next_utterance_is_heard(
    recogniser: Recogniser, phone: Phone
) -> None:
    with pytest.raises(ValueError, match=r"multiple|sample"):
        recogniser.hear(b"\1\0\1", LINE_RATE_HZ)
    found = recogniser.hear(phone("goodbye"), LINE_RATE_HZ)
    assert found is not None
    assert found.text == "goodbye"


def test_the_same_audio_is_heard_alike_whatever_came_before(
    recogniser: Recogniser, phone: Phone
) -> None:
    audio, loud = phone("where are you located"), phone("transfer me to sales", voice="en-us+m3")
    texts = [words(recogniser.hear(pcm16, LINE_RATE_HZ)) for pcm16 in (audio, loud, audio, loud)]
    assert texts == ["where are you located", "transfer me to sales"] * 2


def test_other_threads_run_while_it_listens(recogniser: Recogniser, phone: Phone) -> None:
    """The engine keeps the GIL: 30 s in one piece would stop the process for most of a second."""
    audio = (phone("what are your opening hours") * 30)[: 30 * LINE_RATE_HZ * 2]
    ticks = 0
    over = threading.Event()

    def tick() -> None:
        nonlocal ticks
        while not over.wait(0.001):
            ticks += 1

    ticker = threading.Thread(target=tick)
    ticker.start()
    began_s = time.monotonic()
    recogniser.hear(audio, LINE_RATE_HZ)
    took_s = time.monotonic() - began_s
    over.set()
    ticker.join(timeout=10)
    # One turn for at most 50 ms of work, on however busy a machine.
    assert ticks > took_s / 0.05


def test_threads_share_a_recogniser(recogniser: Recogniser, phone: Phone) -> None:
    spoken = ["yes", "goodbye", "where are you located", "transfer me to sales"]
    audio = {sentence: phone(sentence) for sentence in spoken}
    found: dict[str, str | None] = {}

    def hear(sentence: str) -> None:
        found[sentence] = words(recogniser.hear(audio[sentence], LINE_RATE_HZ))

    threads = [threading.Thread(target=hear, args=(sentence,)) for sentence in spoken]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert found == {sentence: sentence for sentence in spoken}


def test_unknown_words_are_named() -> None:
    grammar = Grammar.from_phrases(["call zzyzx", "call qqfrob", "call home"])
    with pytest.raises(ConfigError, match="qqfrob, zzyzx") as caught:
        Recogniser(grammar)
    assert caught.value.field == "grammar"
    assert "home" not in str(caught.value)


def test_broken_jsgf_is_refused() -> None:
    grammar = Grammar.from_jsgf("#JSGF V1.0;\ngrammar g;\npublic <a> = yes | (no;\n")
    with pytest.raises(ConfigError, match="not valid JSGF"):
        Recogniser(grammar)


def test_one_grammar_has_one_recogniser() -> None:
    grammar = Grammar.from_phrases(["yes", "no"])
    assert recogniser_for(grammar) is recogniser_for(Grammar.from_phrases(["Yes", "No!"]))


def test_without_the_extra_the_error_says_what_to_install() -> None:
    program = """
import sys
sys.modules["pocketsphinx"] = None
from trunkline.bots.offline.grammar import Grammar
from trunkline.bots.offline.recogniser import Recogniser
from trunkline.errors import ConfigError
try:
    Recogniser(Grammar.from_phrases(["yes"]))
except ConfigError as error:
    print(error)
"""
    found = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60
    )
    assert "pip install 'trunkline[offline]'" in found.stdout
