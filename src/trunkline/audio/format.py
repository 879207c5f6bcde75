"""What a stream's payload bytes mean: encoding, sample rate, channels; bytes and time.

Encoding names are IANA's (https://www.iana.org/assignments/rtp-parameters); G.711 is RFC 3551
§4.5.14.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Encoding", "MediaFormat"]


class Encoding(StrEnum):
    """How one sample is written."""

    PCMU = "PCMU"
    """G.711 µ-law, 8 bits."""

    PCMA = "PCMA"
    """G.711 A-law, 8 bits."""

    L16 = "L16"
    """Linear, 16 bits, **little-endian**: so carriers send it on WebSockets, unlike RFC 3551."""


_BYTES_PER_SAMPLE = {Encoding.PCMU: 1, Encoding.PCMA: 1, Encoding.L16: 2}

# The code word of linear zero. PCMU has two, 0x7f and 0xff; encoders write 0xff, positive zero.
_SILENCE_BYTE = {Encoding.PCMU: 0xFF, Encoding.PCMA: 0xD5, Encoding.L16: 0x00}


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaFormat:
    """The format of payload bytes in one direction of a stream.

    A millisecond is always a whole number of samples (8, 16, 24, 48 kHz; not 22.05), so media time
    in integer milliseconds converts to bytes without a remainder.

    Raises:
        ValueError: The sample rate is not a positive multiple of 1000 Hz, or there is no channel.
    """

    encoding: Encoding
    sample_rate_hz: int
    channels: int = 1
    """Samples of several channels are interleaved."""

    def __post_init__(self) -> None:
        if self.sample_rate_hz <= 0 or self.sample_rate_hz % 1000:
            raise ValueError(
                f"sample_rate_hz must be a positive multiple of 1000, not {self.sample_rate_hz}"
            )
        if self.channels < 1:
            raise ValueError(f"channels must be at least 1, not {self.channels}")

    @property
    def bytes_per_sample(self) -> int:
        """Bytes of one sample of one channel."""
        return _BYTES_PER_SAMPLE[self.encoding]

    @property
    def bytes_per_ms(self) -> int:
        """Bytes of one millisecond of all channels."""
        return self.sample_rate_hz // 1000 * self.channels * self.bytes_per_sample

    @property
    def silence_byte(self) -> int:
        """The byte that silence repeats, 0 to 255: what to pad a short frame with."""
        return _SILENCE_BYTE[self.encoding]

    def duration_ms(self, n_bytes: int) -> int:
        """Whole milliseconds that ``n_bytes`` of payload last, rounded down."""
        return n_bytes // self.bytes_per_ms

    def n_bytes(self, duration_ms: int) -> int:
        """Bytes of payload in ``duration_ms`` milliseconds."""
        return duration_ms * self.bytes_per_ms

    def silence(self, duration_ms: int) -> bytes:
        """Payload that sounds as nothing for ``duration_ms`` milliseconds."""
        return bytes([self.silence_byte]) * self.n_bytes(duration_ms)
