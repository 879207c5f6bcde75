"""How loud PCM16 is, in dBFS: 0 is a full-scale square wave, a full-scale sine is -3.01."""

from __future__ import annotations

import math

import numpy as np

__all__ = ["SILENCE_DBFS", "is_silent", "rms_dbfs"]

SILENCE_DBFS = -50.0
"""Below this nobody speaks: speech is at -26 on this scale (ITU-T P.56), idle lines below -60."""

_FULL_SCALE = 32768.0


def rms_dbfs(pcm16: bytes) -> float:
    """Root mean square of the samples in dBFS; minus infinity for digital silence.

    Raises:
        ValueError: ``pcm16`` ends inside a sample.
    """
    samples = np.frombuffer(pcm16, dtype="<i2").astype(np.float64)
    energy = float(np.dot(samples, samples))
    if energy == 0.0:
        return -math.inf
    return 10.0 * math.log10(energy / samples.size / _FULL_SCALE**2)


def is_silent(pcm16: bytes, *, threshold_dbfs: float = SILENCE_DBFS) -> bool:
    """Whether the samples are quieter than ``threshold_dbfs``; no samples at all are silent.

    Raises:
        ValueError: ``pcm16`` ends inside a sample.
    """
    return rms_dbfs(pcm16) < threshold_dbfs
