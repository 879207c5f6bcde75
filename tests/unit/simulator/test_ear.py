from __future__ import annotations

from trunkline.audio import tone
from trunkline.simulator.ear import Ear

LOUD = tone(400, 20, 8000)
QUIET = bytes(320)


def listen(ear: Ear, pattern: str, start_ms: int = 0) -> int:
    """Let the ear hear a frame of 20 ms for each letter: ``#`` loud, ``.`` quiet."""
    for letter in pattern:
        ear.hear(LOUD if letter == "#" else QUIET, start_ms, start_ms + 20)
        start_ms += 20
    return start_ms


def test_nothing_is_heard_in_silence() -> None:
    ear = Ear()
    now_ms = listen(ear, "." * 50)

    assert ear.onsets == 0
    assert not ear.is_speaking(now_ms)
    assert ear.quiet_ms(now_ms) == 1000


def test_speech_begins_with_its_first_loud_frame() -> None:
    ear = Ear()
    now_ms = listen(ear, ".....###")

    assert (ear.onset_ms, ear.onsets, ear.last_loud_ms) == (100, 1, 160)
    assert ear.is_speaking(now_ms)


def test_a_pause_between_words_does_not_end_speech() -> None:
    ear = Ear()
    listen(ear, "###" + "." * 14 + "###")

    assert ear.onsets == 1


def test_after_a_long_pause_speech_begins_anew() -> None:
    ear = Ear()
    listen(ear, "###" + "." * 15 + "###")

    assert (ear.onsets, ear.onset_ms) == (2, 360)


def test_noise_below_speech_is_not_heard() -> None:
    ear = Ear()
    ear.hear(tone(400, 20, 8000, peak_dbfs=-50.0), 0, 20)

    assert ear.onsets == 0
