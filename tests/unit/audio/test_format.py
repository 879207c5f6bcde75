"""Encoding and MediaFormat: bytes, time, silence."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.audio.encoding import decode
from trunkline.audio.format import Encoding, MediaFormat

FORMATS = st.builds(
    MediaFormat,
    encoding=st.sampled_from(Encoding),
    sample_rate_hz=st.sampled_from([8000, 16000, 24000, 48000]),
    channels=st.integers(1, 2),
)


@pytest.mark.parametrize(
    ("encoding", "sample_rate_hz", "channels", "bytes_per_sample", "bytes_per_ms"),
    [
        (Encoding.PCMU, 8000, 1, 1, 8),
        (Encoding.PCMA, 8000, 1, 1, 8),
        (Encoding.L16, 8000, 1, 2, 16),
        (Encoding.L16, 16000, 1, 2, 32),
        (Encoding.L16, 24000, 1, 2, 48),
        (Encoding.PCMU, 8000, 2, 1, 16),
        (Encoding.L16, 48000, 2, 2, 192),
    ],
)
def test_sizes_follow_encoding_rate_and_channels(
    encoding: Encoding, sample_rate_hz: int, channels: int, bytes_per_sample: int, bytes_per_ms: int
) -> None:
    media_format = MediaFormat(encoding=encoding, sample_rate_hz=sample_rate_hz, channels=channels)
    assert media_format.bytes_per_sample == bytes_per_sample
    assert media_format.bytes_per_ms == bytes_per_ms


def test_twenty_ms_of_pcmu_are_160_bytes() -> None:
    pcmu = MediaFormat(encoding=Encoding.PCMU, sample_rate_hz=8000)
    assert pcmu.n_bytes(20) == 160
    assert pcmu.duration_ms(160) == 20


def test_duration_rounds_down() -> None:
    pcmu = MediaFormat(encoding=Encoding.PCMU, sample_rate_hz=8000)
    assert [pcmu.duration_ms(n) for n in (0, 7, 8, 15, 16)] == [0, 0, 1, 1, 2]


@given(FORMATS, st.integers(0, 100_000))
def test_milliseconds_to_bytes_and_back_loses_nothing(media_format: MediaFormat, ms: int) -> None:
    assert media_format.duration_ms(media_format.n_bytes(ms)) == ms


@given(FORMATS, st.integers(0, 200))
def test_silence_has_its_length_and_decodes_to_near_zero(
    media_format: MediaFormat, ms: int
) -> None:
    silence = media_format.silence(ms)
    assert len(silence) == media_format.n_bytes(ms)
    assert set(silence) <= {media_format.silence_byte}
    # A-law has no zero: its smallest value is 8 of 32768.
    smallest = b"\x08\x00" if media_format.encoding is Encoding.PCMA else b"\x00\x00"
    pcm16 = decode(silence, media_format)
    assert pcm16 == smallest * (len(pcm16) // 2)


@pytest.mark.parametrize(
    ("encoding", "byte"), [(Encoding.PCMU, 0xFF), (Encoding.PCMA, 0xD5), (Encoding.L16, 0x00)]
)
def test_silence_is_the_code_word_of_zero(encoding: Encoding, byte: int) -> None:
    assert MediaFormat(encoding=encoding, sample_rate_hz=8000).silence(1)[0] == byte


@pytest.mark.parametrize("sample_rate_hz", [0, -8000, 11025, 22050, 44100])
def test_a_rate_without_whole_samples_per_ms_is_refused(sample_rate_hz: int) -> None:
    with pytest.raises(ValueError, match=f"multiple of 1000, not {sample_rate_hz}"):
        MediaFormat(encoding=Encoding.L16, sample_rate_hz=sample_rate_hz)


@pytest.mark.parametrize("channels", [0, -1])
def test_no_channel_is_refused(channels: int) -> None:
    with pytest.raises(ValueError, match="channels must be at least 1"):
        MediaFormat(encoding=Encoding.L16, sample_rate_hz=8000, channels=channels)


def test_a_format_is_a_value() -> None:
    one = MediaFormat(encoding=Encoding.PCMU, sample_rate_hz=8000)
    assert one == MediaFormat(encoding=Encoding("PCMU"), sample_rate_hz=8000, channels=1)
    assert len({one, dataclasses.replace(one)}) == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.channels = 2  # pyright: ignore[reportAttributeAccessIssue] - the point of the test
