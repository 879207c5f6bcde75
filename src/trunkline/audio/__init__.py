"""Telephone audio: G.711 and L16, resampling, framing, WAV, tones, loudness.

Pure functions of bytes. Two representations, and no third. *Payload* is what a carrier sends and
gets, described by a ``MediaFormat``. *PCM16* is what engines and recordings use: signed 16-bit
samples, little-endian, mono unless a docstring says otherwise. Little-endian hosts only, as are all
that we build for.
"""

from __future__ import annotations

from trunkline.audio.encoding import decode, encode, swap_bytes
from trunkline.audio.format import Encoding, MediaFormat
from trunkline.audio.framing import Framer
from trunkline.audio.loudness import SILENCE_DBFS, is_silent, rms_dbfs
from trunkline.audio.resampling import Resampler, resample
from trunkline.audio.tones import DTMF_DIGITS, dtmf_tone, tone
from trunkline.audio.wav import (
    WAV_HEADER_BYTES,
    Wav,
    parse_wav,
    patch_sizes,
    read_wav,
    wav_header,
)

__all__ = [
    "DTMF_DIGITS",
    "SILENCE_DBFS",
    "WAV_HEADER_BYTES",
    "Encoding",
    "Framer",
    "MediaFormat",
    "Resampler",
    "Wav",
    "decode",
    "dtmf_tone",
    "encode",
    "is_silent",
    "parse_wav",
    "patch_sizes",
    "read_wav",
    "resample",
    "rms_dbfs",
    "swap_bytes",
    "tone",
    "wav_header",
]
