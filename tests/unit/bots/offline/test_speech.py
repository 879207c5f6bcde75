from __future__ import annotations

import subprocess
import sys
import threading

import numpy as np
import pytest

from trunkline.bots.offline.speech import MAX_TEXT_CHARACTERS, Synthesizer
from trunkline.errors import ConfigError

SENTENCE = "What are your opening hours?"


def test_a_sentence_becomes_sound() -> None:
    pcm16, rate_hz = Synthesizer().speak(SENTENCE)
    samples = np.frombuffer(pcm16, dtype="<i2")
    assert rate_hz == 22050
    assert 1.0 < samples.size / rate_hz < 4.0
    assert np.abs(samples).max() > 5000


def test_speed_is_kept_between_synthesizers() -> None:
    slow, fast = Synthesizer(words_per_minute=100), Synthesizer(words_per_minute=200)
    lengths = [len(synthesizer.speak(SENTENCE)[0]) for synthesizer in (slow, fast, slow)]
    assert lengths[1] * 1.3 < min(lengths[0], lengths[2])


def test_a_variant_is_another_voice() -> None:
    plain, variant = (len(Synthesizer(voice).speak(SENTENCE)[0]) for voice in ("en-us", "en-us+f2"))
    # Two renderings of one voice differ by a handful of samples.
    assert abs(plain - variant) > 400


@pytest.mark.parametrize("text", ["", "  \n"])
def test_nothing_to_say_is_no_sound(text: str) -> None:
    assert Synthesizer().speak(text)[0] == b""


def test_a_nul_does_not_cut_the_sentence() -> None:
    whole = len(Synthesizer().speak("one two three four")[0])
    assert len(Synthesizer().speak("one two\0three four")[0]) > whole * 0.9


def test_a_lone_surrogate_does_not_stop_the_sentence() -> None:
    assert Synthesizer().speak("hello \ud800 there")[0]


def test_too_much_text_is_refused() -> None:
    with pytest.raises(ValueError, match="5000"):
        Synthesizer().speak("a" * (MAX_TEXT_CHARACTERS + 1))


@pytest.mark.parametrize("voice", ["martian", "en-us+nobody", "../en", "", "en-us+../f2", "en\0us"])
def test_an_unknown_voice_is_refused(voice: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Synthesizer(voice)
    assert caught.value.field == "voice"


@pytest.mark.parametrize("words_per_minute", [0, 79, 451])
def test_speed_has_bounds(words_per_minute: int) -> None:
    with pytest.raises(ConfigError) as caught:
        Synthesizer(words_per_minute=words_per_minute)
    assert caught.value.field == "words_per_minute"


def test_threads_take_turns() -> None:
    lengths: list[int] = []

    def speak() -> None:
        lengths.append(len(Synthesizer().speak(SENTENCE)[0]))

    threads = [threading.Thread(target=speak) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert len(lengths) == 8
    assert max(lengths) - min(lengths) < 0.02 * max(lengths)


def run_program(program: str) -> str:
    found = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60
    )
    return found.stdout


def test_a_forked_child_speaks_with_what_it_inherits() -> None:
    program = """
import os
from trunkline.bots.offline.speech import Synthesizer
synthesizer = Synthesizer()
pid = os.fork()
if pid == 0:
    os._exit(0 if len(synthesizer.speak("hello there")[0]) > 10000 else 1)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), len(synthesizer.speak("hello")[0]) > 5000)
"""
    assert run_program(program).split() == ["0", "True"]


def test_without_the_extra_the_error_says_what_to_install() -> None:
    program = """
import sys
sys.modules["espeakng_loader"] = None
from trunkline.bots.offline.speech import Synthesizer
from trunkline.errors import ConfigError
try:
    Synthesizer()
except ConfigError as error:
    print(error)
"""
    assert "pip install 'trunkline[offline]'" in run_program(program)
