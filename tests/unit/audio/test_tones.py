"""Tones: what is in them, and how they begin and end."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from trunkline.audio.encoding import decode, encode
from trunkline.audio.format import Encoding, MediaFormat
from trunkline.audio.tones import DTMF_DIGITS, dtmf_tone, tone

# ITU-T Q.23, written out a second time so that a slip in the table of the module shows.
Q23_HZ = {
    "1": (697, 1209), "2": (697, 1336), "3": (697, 1477), "A": (697, 1633),
    "4": (770, 1209), "5": (770, 1336), "6": (770, 1477), "B": (770, 1633),
    "7": (852, 1209), "8": (852, 1336), "9": (852, 1477), "C": (852, 1633),
    "*": (941, 1209), "0": (941, 1336), "#": (941, 1477), "D": (941, 1633),
}  # fmt: skip


def samples_of(data: bytes) -> NDArray[np.float64]:
    return np.frombuffer(data, dtype="<i2").astype(np.float64)


def level_db(data: bytes, frequency_hz: float, sample_rate_hz: int) -> float:
    """Amplitude at one frequency in dBFS, through a Hann window."""
    samples = samples_of(data)
    window = np.hanning(samples.size)
    angle = -2j * np.pi * frequency_hz / sample_rate_hz * np.arange(samples.size)
    amplitude = 2 * abs(np.dot(samples * window, np.exp(angle))) / window.sum()
    return 20 * math.log10(amplitude / 32768 + 1e-12)


@pytest.mark.parametrize("sample_rate_hz", [8000, 16000, 24000])
@pytest.mark.parametrize("digit", sorted(Q23_HZ))
def test_a_digit_is_its_two_frequencies_and_no_other(digit: str, sample_rate_hz: int) -> None:
    data = dtmf_tone(digit, sample_rate_hz)
    assert len(data) == 2 * sample_rate_hz // 10
    low_hz, high_hz = Q23_HZ[digit]
    assert level_db(data, low_hz, sample_rate_hz) == pytest.approx(-12, abs=0.5)
    assert level_db(data, high_hz, sample_rate_hz) == pytest.approx(-10, abs=0.5)
    for other_hz in {hz for pair in Q23_HZ.values() for hz in pair} - {low_hz, high_hz}:
        assert level_db(data, other_hz, sample_rate_hz) < -35


def test_all_sixteen_keys_sound() -> None:
    assert frozenset(Q23_HZ) == DTMF_DIGITS


def test_the_loudest_key_does_not_clip_and_survives_pcmu() -> None:
    pcmu = MediaFormat(encoding=Encoding.PCMU, sample_rate_hz=8000)
    data = dtmf_tone("5", 8000, duration_ms=1000)
    assert abs(samples_of(data)).max() < 20_000
    heard = decode(encode(data, pcmu), pcmu)
    assert level_db(heard, 770, 8000) == pytest.approx(-12, abs=0.2)
    assert level_db(heard, 1336, 8000) == pytest.approx(-10, abs=0.2)


@pytest.mark.parametrize("digit", ["", "a", "E", "12", "٣"])
def test_what_is_no_key_is_refused_and_not_repeated_in_the_error(digit: str) -> None:
    with pytest.raises(ValueError, match=r"^a DTMF digit is one of 0-9 \* # A-D$"):
        dtmf_tone(digit, 8000)


@pytest.mark.parametrize("peak_dbfs", [0.0, -10.0, -40.0])
def test_a_tone_has_the_peak_that_was_asked_for(peak_dbfs: float) -> None:
    data = tone(440, 200, 16000, peak_dbfs)
    assert len(data) == 2 * 3200
    assert 20 * math.log10(abs(samples_of(data)).max() / 32767) == pytest.approx(peak_dbfs, abs=0.1)
    assert level_db(data, 440, 16000) == pytest.approx(peak_dbfs, abs=0.2)


def test_edges_are_soft() -> None:
    samples = samples_of(tone(1000, 100, 8000, 0.0))
    assert samples[0] == 0
    assert samples[-1] == 0
    # The envelope grows over 2 ms (16 samples): no early sample is as loud as the body.
    assert abs(samples[:4]).max() < 0.15 * 32767
    assert abs(samples[-4:]).max() < 0.15 * 32767
    assert abs(samples[16:-16]).max() > 0.99 * 32767


@pytest.mark.parametrize("duration_ms", [0, 1, 3])
def test_a_tone_shorter_than_its_edges_still_has_its_length(duration_ms: int) -> None:
    assert len(tone(1000, duration_ms, 8000)) == 2 * 8 * duration_ms


@pytest.mark.parametrize("frequency_hz", [0, -440, 4000, 5000])
def test_a_frequency_that_the_rate_cannot_carry_is_refused(frequency_hz: int) -> None:
    with pytest.raises(ValueError, match="cannot be expressed at 8000 Hz"):
        tone(frequency_hz, 20, 8000)


def test_a_peak_over_full_scale_is_refused() -> None:
    with pytest.raises(ValueError, match="clips"):
        tone(440, 20, 8000, 0.1)
