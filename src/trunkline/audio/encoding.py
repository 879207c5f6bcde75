"""Payload to PCM16 and back.

G.711 is the standard library's ``audioop`` (from 3.13 the audioop-lts package). Sample by sample,
without state: chunks may be cut anywhere between samples, and interleaved channels stay
interleaved. G.711 keeps about 13 bits, so only payload → PCM16 → payload can be exact. It is for
PCMA; PCMU has two zeros, and 0x7f comes back as 0xff.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping

from trunkline.audio.format import Encoding, MediaFormat

with warnings.catch_warnings():
    # Python 3.11 and 3.12 announce the module's removal; audioop-lts takes its place after that.
    warnings.simplefilter("ignore", DeprecationWarning)
    import audioop

__all__ = ["decode", "encode", "swap_bytes"]

_WIDTH_BYTES = 2  # of a PCM16 sample


def _whole_samples(pcm16: bytes) -> bytes:
    if len(pcm16) % _WIDTH_BYTES:
        raise ValueError(f"{len(pcm16)} bytes are not a whole number of 16-bit samples")
    return pcm16


def _decode_pcmu(payload: bytes) -> bytes:
    return audioop.ulaw2lin(payload, _WIDTH_BYTES)


def _decode_pcma(payload: bytes) -> bytes:
    return audioop.alaw2lin(payload, _WIDTH_BYTES)


def _encode_pcmu(pcm16: bytes) -> bytes:
    return audioop.lin2ulaw(_whole_samples(pcm16), _WIDTH_BYTES)


def _encode_pcma(pcm16: bytes) -> bytes:
    return audioop.lin2alaw(_whole_samples(pcm16), _WIDTH_BYTES)


_DECODERS: Mapping[Encoding, Callable[[bytes], bytes]] = {
    Encoding.PCMU: _decode_pcmu,
    Encoding.PCMA: _decode_pcma,
    Encoding.L16: _whole_samples,
}
_ENCODERS: Mapping[Encoding, Callable[[bytes], bytes]] = {
    Encoding.PCMU: _encode_pcmu,
    Encoding.PCMA: _encode_pcma,
    Encoding.L16: _whole_samples,
}


def decode(payload: bytes, media_format: MediaFormat) -> bytes:
    """Turn a carrier's payload into PCM16 of the same rate and channels.

    Raises:
        ValueError: L16 payload that ends inside a sample.
    """
    return _DECODERS[media_format.encoding](payload)


def encode(pcm16: bytes, media_format: MediaFormat) -> bytes:
    """Turn PCM16, already at the format's rate and channels, into payload for a carrier.

    Raises:
        ValueError: ``pcm16`` ends inside a sample.
    """
    return _ENCODERS[media_format.encoding](pcm16)


def swap_bytes(payload: bytes) -> bytes:
    """Turn big-endian L16 (network order, RFC 3551 §4.5.11) into little-endian, or back.

    Raises:
        ValueError: ``payload`` ends inside a sample.
    """
    return audioop.byteswap(_whole_samples(payload), _WIDTH_BYTES)
