"""Levels of known signals."""

from __future__ import annotations

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.audio.encoding import decode
from trunkline.audio.format import Encoding, MediaFormat
from trunkline.audio.loudness import SILENCE_DBFS, is_silent, rms_dbfs


def pcm16(samples: list[int]) -> bytes:
    return struct.pack(f"<{len(samples)}h", *samples)


def test_a_full_scale_square_wave_is_zero_dbfs() -> None:
    assert rms_dbfs(pcm16([-32768] * 160)) == 0.0


def test_a_full_scale_sine_is_three_db_below() -> None:
    sine = [round(32767 * math.sin(2 * math.pi * n / 80)) for n in range(8000)]
    assert rms_dbfs(pcm16(sine)) == pytest.approx(-3.01, abs=0.01)


def test_one_bit_is_heard() -> None:
    assert rms_dbfs(pcm16([1, -1] * 80)) == pytest.approx(-90.31, abs=0.01)


@pytest.mark.parametrize("data", [b"", bytes(320)])
def test_nothing_is_minus_infinity_and_silent(data: bytes) -> None:
    assert rms_dbfs(data) == -math.inf
    assert is_silent(data)


@given(st.lists(st.integers(-32768, 32767), min_size=1))
def test_level_stays_in_scale_and_ignores_order(samples: list[int]) -> None:
    level = rms_dbfs(pcm16(samples))
    assert level <= 0.0
    assert rms_dbfs(pcm16(samples[::-1])) == pytest.approx(level)


@given(st.lists(st.integers(-16000, 16000), min_size=1).filter(any))
def test_twice_the_amplitude_is_six_db_more(samples: list[int]) -> None:
    louder = rms_dbfs(pcm16([2 * sample for sample in samples]))
    assert louder - rms_dbfs(pcm16(samples)) == pytest.approx(6.0206, abs=1e-3)


@pytest.mark.parametrize("encoding", list(Encoding))
def test_silence_of_every_encoding_is_silent(encoding: Encoding) -> None:
    media_format = MediaFormat(encoding=encoding, sample_rate_hz=8000)
    assert is_silent(decode(media_format.silence(20), media_format))


def test_the_threshold_itself_is_not_silent() -> None:
    data = pcm16([200] * 160)
    level = rms_dbfs(data)
    assert level > SILENCE_DBFS
    assert not is_silent(data)
    assert not is_silent(data, threshold_dbfs=level)
    assert is_silent(data, threshold_dbfs=level + 0.01)


def test_half_a_sample_is_refused() -> None:
    with pytest.raises(ValueError, match="multiple of element size"):
        rms_dbfs(b"\x00\x01\x02")
