"""Tones as PCM16: plain sines and DTMF (frequencies: ITU-T Q.23)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["DTMF_DIGITS", "dtmf_tone", "tone"]

_LOW_HZ = (697, 770, 852, 941)
_HIGH_HZ = (1209, 1336, 1477, 1633)
_KEYPAD = ("123A", "456B", "789C", "*0#D")

_DTMF_HZ = {
    digit: (low_hz, high_hz)
    for low_hz, row in zip(_LOW_HZ, _KEYPAD, strict=True)
    for high_hz, digit in zip(_HIGH_HZ, row, strict=True)
}

DTMF_DIGITS = frozenset(_DTMF_HZ)
"""The sixteen digits: ``0-9 * # A-D``."""

# Peak of each sine. The high group is 2 dB louder, as telephone sets send it; the sum stays 4.9 dB
# below clipping.
_DTMF_LOW_DBFS = -12.0
_DTMF_HIGH_DBFS = -10.0

# Raised-cosine edges: a tone cut off square clicks, and a click's energy at all frequencies
# confuses detectors.
_EDGE_MS = 2


def tone(
    frequency_hz: float, duration_ms: int, sample_rate_hz: int, peak_dbfs: float = -10.0
) -> bytes:
    """A sine as PCM16 that fades in and out within 2 ms.

    Args:
        frequency_hz: Above 0, below half the sample rate.
        duration_ms: Milliseconds, edges included.
        sample_rate_hz: Samples per second.
        peak_dbfs: Peak of the sine, at most 0 dBFS.

    Raises:
        ValueError: The frequency cannot be expressed at this rate, or the peak would clip.
    """
    if peak_dbfs > 0.0:
        raise ValueError(f"a peak of {peak_dbfs} dBFS clips")
    n_samples = duration_ms * sample_rate_hz // 1000
    return _pcm16(_sine(frequency_hz, n_samples, sample_rate_hz, peak_dbfs), sample_rate_hz)


def dtmf_tone(digit: str, sample_rate_hz: int, duration_ms: int = 100) -> bytes:
    """The dual tone of one key as PCM16.

    Args:
        digit: One of ``DTMF_DIGITS``.
        sample_rate_hz: Samples per second, above 3266.
        duration_ms: Milliseconds; detectors want 40 or more (ITU-T Q.24).

    Raises:
        ValueError: ``digit`` is no key, or the rate is too low.
    """
    if digit not in _DTMF_HZ:
        raise ValueError("a DTMF digit is one of 0-9 * # A-D")
    low_hz, high_hz = _DTMF_HZ[digit]
    n_samples = duration_ms * sample_rate_hz // 1000
    low = _sine(low_hz, n_samples, sample_rate_hz, _DTMF_LOW_DBFS)
    high = _sine(high_hz, n_samples, sample_rate_hz, _DTMF_HIGH_DBFS)
    return _pcm16(low + high, sample_rate_hz)


def _sine(
    frequency_hz: float, n_samples: int, sample_rate_hz: int, peak_dbfs: float
) -> NDArray[np.float64]:
    if not 0 < frequency_hz < sample_rate_hz / 2:
        raise ValueError(f"{frequency_hz} Hz cannot be expressed at {sample_rate_hz} Hz")
    phase = 2.0 * np.pi * frequency_hz / sample_rate_hz * np.arange(n_samples, dtype=np.float64)
    return np.sin(phase) * (32767.0 * 10.0 ** (peak_dbfs / 20.0))


def _pcm16(samples: NDArray[np.float64], sample_rate_hz: int) -> bytes:
    edge = min(_EDGE_MS * sample_rate_hz // 1000, samples.size // 2)
    rise = 0.5 - 0.5 * np.cos(np.pi * np.arange(edge) / max(edge, 1))
    samples[:edge] *= rise
    samples[samples.size - edge :] *= rise[::-1]
    return np.rint(samples).astype("<i2").tobytes()
