"""The resampler against sines computed at the target rate: quality, timing, chunking."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from trunkline.audio.resampling import Resampler, resample

RATIOS = [
    (8000, 16000),
    (16000, 8000),
    (24000, 8000),
    (8000, 24000),
    (48000, 8000),
    (16000, 24000),
    (24000, 16000),
    (22050, 8000),
    (44100, 8000),
    (8000, 48000),
]


def sine(
    frequency_hz: float, sample_rate_hz: int, n_samples: int, amplitude: float = 8000
) -> bytes:
    phase = 2 * np.pi * frequency_hz / sample_rate_hz * np.arange(n_samples)
    return np.rint(amplitude * np.sin(phase)).astype("<i2").tobytes()


def samples_of(data: bytes) -> NDArray[np.float64]:
    return np.frombuffer(data, dtype="<i2").astype(np.float64)


def rms(samples: NDArray[np.float64]) -> float:
    return math.sqrt(float(np.mean(samples**2)))


def body(samples: NDArray[np.float64]) -> NDArray[np.float64]:
    """Without the edges, where the filter sees the silence around the signal."""
    return samples[500:-500]


@pytest.mark.parametrize(("from_hz", "to_hz"), RATIOS)
@pytest.mark.parametrize("frequency_hz", [300, 1004, 3300])
def test_speech_frequencies_come_out_in_place_and_at_level(
    from_hz: int, to_hz: int, frequency_hz: int
) -> None:
    heard = samples_of(resample(sine(frequency_hz, from_hz, from_hz), from_hz, to_hz))
    wanted = samples_of(sine(frequency_hz, to_hz, to_hz))
    assert heard.size == wanted.size
    assert rms(body(heard - wanted)) < rms(body(wanted)) / 1000  # -60 dB


@pytest.mark.parametrize("from_hz", [16000, 24000, 48000, 22050, 44100])
@pytest.mark.parametrize("frequency_hz", [4100, 5000, 7000])
def test_what_the_lower_rate_cannot_carry_does_not_alias(from_hz: int, frequency_hz: int) -> None:
    heard = samples_of(resample(sine(frequency_hz, from_hz, from_hz), from_hz, 8000))
    assert rms(body(heard)) < 8000 / math.sqrt(2) / 1000  # -60 dB


@pytest.mark.parametrize("to_hz", [16000, 24000, 48000])
def test_upsampling_leaves_no_image_above_the_old_nyquist(to_hz: int) -> None:
    heard = body(samples_of(resample(sine(3000, 8000, 8000), 8000, to_hz)))
    spectrum = abs(np.fft.rfft(heard * np.hanning(heard.size)))
    frequencies = np.fft.rfftfreq(heard.size, 1 / to_hz)
    assert 20 * math.log10(spectrum[frequencies > 4100].max() / spectrum.max()) < -60


@pytest.mark.parametrize(("from_hz", "to_hz"), RATIOS)
def test_a_click_stays_where_it_is(from_hz: int, to_hz: int) -> None:
    click = np.zeros(from_hz // 5, dtype="<i2")
    click[from_hz // 10] = 20000
    heard = samples_of(resample(click.tobytes(), from_hz, to_hz))
    assert abs(int(np.argmax(heard)) - to_hz // 10) <= 1


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(RATIOS),
    st.lists(st.integers(0, 900), max_size=8),
    st.integers(0, 2**32 - 1),
)
def test_chunks_make_no_difference(ratio: tuple[int, int], sizes: list[int], seed: int) -> None:
    from_hz, to_hz = ratio
    noise = np.random.default_rng(seed).integers(-32768, 32768, sum(sizes)).astype("<i2")
    resampler = Resampler(from_hz, to_hz)
    streamed, start = b"", 0
    for size in sizes:
        streamed += resampler.process(noise[start : start + size].tobytes())
        start += size
    streamed += resampler.flush()
    whole = samples_of(resample(noise.tobytes(), from_hz, to_hz))
    assert whole.size == -(-noise.size * to_hz // from_hz)  # lasts as long, rounded up
    assert samples_of(streamed).size == whole.size
    # Sums in another order may round to the neighbour.
    assert np.abs(samples_of(streamed) - whole).max(initial=0) <= 1


@pytest.mark.parametrize(("from_hz", "to_hz"), RATIOS)
def test_output_lags_less_than_4_ms_and_comes_in_every_chunk(from_hz: int, to_hz: int) -> None:
    """A resampler that works in blocks would be 100 ms late here and silent for most chunks."""
    resampler = Resampler(from_hz, to_hz)
    n_samples = from_hz // 50
    owed = 0.0
    for index in range(50):
        came = len(resampler.process(sine(440, from_hz, n_samples))) // 2
        owed += to_hz / 50 - came
        assert owed < 0.004 * to_hz
        if index:
            assert abs(came - to_hz / 50) <= 1


def test_loud_input_is_clipped_not_wrapped() -> None:
    square = np.where(np.arange(8000) // 20 % 2, 32767, -32768).astype("<i2").tobytes()
    heard = samples_of(resample(square, 8000, 16000))
    assert heard.max() == 32767
    assert heard.min() == -32768
    # A wrap would jump by the whole scale within one sample; a filtered edge takes several.
    assert np.abs(np.diff(heard)).max() < 50_000


@pytest.mark.parametrize(("from_hz", "to_hz"), RATIOS)
def test_a_constant_keeps_its_value(from_hz: int, to_hz: int) -> None:
    constant = np.full(from_hz // 2, 12345, dtype="<i2").tobytes()
    assert set(body(samples_of(resample(constant, from_hz, to_hz)))) == {12345.0}


def test_equal_rates_hand_the_bytes_through() -> None:
    resampler = Resampler(8000, 8000)
    chunk = sine(440, 8000, 160)
    assert resampler.process(chunk) is chunk
    assert resampler.flush() == b""
    resampler.clear()
    assert resample(chunk, 16000, 16000) == chunk


def test_after_a_flush_a_new_stream_begins() -> None:
    resampler = Resampler(8000, 16000)
    chunk = sine(440, 8000, 160)
    first = resampler.process(chunk) + resampler.flush()
    assert resampler.process(chunk) + resampler.flush() == first


def test_cleared_audio_is_never_heard() -> None:
    resampler = Resampler(24000, 8000)
    resampler.process(sine(440, 24000, 1000))
    resampler.clear()
    silence = bytes(2 * 480)
    assert set(resampler.process(silence) + resampler.flush()) == {0}


def test_streams_of_one_ratio_do_not_mix() -> None:
    loud, quiet = Resampler(8000, 16000), Resampler(8000, 16000)
    loud.process(sine(440, 8000, 160))
    assert set(quiet.process(bytes(320)) + quiet.flush()) == {0}


@pytest.mark.parametrize(("from_hz", "to_hz"), [*RATIOS, (8000, 8000)])
def test_no_audio_makes_no_audio(from_hz: int, to_hz: int) -> None:
    resampler = Resampler(from_hz, to_hz)
    assert resampler.process(b"") == b""
    assert resampler.flush() == b""


@pytest.mark.parametrize("to_hz", [8000, 16000])
def test_half_a_sample_is_refused_and_leaves_the_stream_usable(to_hz: int) -> None:
    resampler = Resampler(8000, to_hz)
    with pytest.raises(ValueError, match="multiple of element size"):
        resampler.process(b"\x00\x01\x02")
    assert len(resampler.process(bytes(320)) + resampler.flush()) == 320 * to_hz // 8000


@pytest.mark.parametrize(
    ("from_hz", "to_hz"), [(0, 8000), (8000, 7999), (48001, 8000), (-8000, 8000)]
)
def test_a_rate_outside_the_bounds_is_refused(from_hz: int, to_hz: int) -> None:
    with pytest.raises(ValueError, match="8000 to 48000 Hz only"):
        Resampler(from_hz, to_hz)
