"""G.711 and L16 against the formulas of ITU-T G.711, and round trips."""

from __future__ import annotations

import struct
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.audio.encoding import decode, encode, swap_bytes
from trunkline.audio.format import Encoding, MediaFormat

PCMU = MediaFormat(encoding=Encoding.PCMU, sample_rate_hz=8000)
PCMA = MediaFormat(encoding=Encoding.PCMA, sample_rate_hz=8000)
L16 = MediaFormat(encoding=Encoding.L16, sample_rate_hz=16000)

SAMPLES = st.lists(st.integers(-32768, 32767))
ODD_BYTES = st.binary().filter(lambda data: len(data) % 2)


def pcm16(*samples: int) -> bytes:
    return struct.pack(f"<{len(samples)}h", *samples)


def samples_of(data: bytes) -> list[int]:
    return list(struct.unpack(f"<{len(data) // 2}h", data))


def pcmu_value(code: int) -> int:
    """G.711 table 2, scaled to 16 bits: inverted bits, sign, 3 bits of segment, 4 of step."""
    code ^= 0xFF
    magnitude = (((code & 0x0F) * 2 + 33) << ((code >> 4) & 7)) - 33
    return -4 * magnitude if code & 0x80 else 4 * magnitude


def pcma_value(code: int) -> int:
    """G.711 table 1, scaled to 16 bits: even bits inverted, sign, 3 bits of segment, 4 of step."""
    code ^= 0x55
    segment, step = (code >> 4) & 7, code & 0x0F
    magnitude = step * 2 + 1 if segment == 0 else (step * 2 + 33) << (segment - 1)
    return 8 * magnitude if code & 0x80 else -8 * magnitude


def test_every_pcmu_code_decodes_as_g711_says() -> None:
    assert samples_of(decode(bytes(range(256)), PCMU)) == [pcmu_value(code) for code in range(256)]


def test_every_pcma_code_decodes_as_g711_says() -> None:
    assert samples_of(decode(bytes(range(256)), PCMA)) == [pcma_value(code) for code in range(256)]


@given(st.binary())
def test_pcmu_survives_pcm16_but_for_its_second_zero(payload: bytes) -> None:
    assert encode(decode(payload, PCMU), PCMU) == payload.replace(b"\x7f", b"\xff")


@given(st.binary())
def test_pcma_survives_pcm16(payload: bytes) -> None:
    assert encode(decode(payload, PCMA), PCMA) == payload


@pytest.mark.parametrize(("media_format", "bias", "peak"), [(PCMU, 132, 32124), (PCMA, 0, 32256)])
def test_encoding_errs_by_half_a_step_at_most(
    media_format: MediaFormat, bias: int, peak: int
) -> None:
    every_sample = list(range(-32768, 32768))
    heard = samples_of(decode(encode(pcm16(*every_sample), media_format), media_format))
    for sent, got in zip(every_sample, heard, strict=True):
        clipped = max(-peak, min(peak, sent))
        half_step = max(8, (abs(clipped) + bias) / 32)
        # G.711 takes 13 or 14 bits; the bits below are cut off before it rounds.
        assert abs(got - clipped) <= half_step + 4, sent


@given(SAMPLES)
def test_l16_is_pcm16(samples: list[int]) -> None:
    data = pcm16(*samples)
    assert decode(data, L16) == data
    assert encode(data, L16) == data


@given(SAMPLES)
def test_swapped_bytes_are_network_order_and_swap_back(samples: list[int]) -> None:
    swapped = swap_bytes(pcm16(*samples))
    assert swapped == struct.pack(f">{len(samples)}h", *samples)
    assert swap_bytes(swapped) == pcm16(*samples)


@pytest.mark.parametrize("media_format", [PCMU, PCMA, L16])
@given(ODD_BYTES)
def test_half_a_sample_is_refused_on_the_way_out(media_format: MediaFormat, data: bytes) -> None:
    with pytest.raises(ValueError, match="whole number of 16-bit samples"):
        encode(data, media_format)


@given(ODD_BYTES)
def test_half_a_sample_of_l16_is_refused_on_the_way_in(data: bytes) -> None:
    with pytest.raises(ValueError, match="whole number of 16-bit samples"):
        decode(data, L16)
    with pytest.raises(ValueError, match="whole number of 16-bit samples"):
        swap_bytes(data)


def test_importing_gives_no_deprecation_warning() -> None:
    """In a fresh interpreter, for here the module is long loaded."""
    done = subprocess.run(
        [sys.executable, "-W", "default", "-c", "import trunkline.audio.encoding"],
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "audioop" not in done.stderr
