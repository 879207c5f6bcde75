"""WAV files of PCM16 that survive their writer.

A writer that is killed leaves sizes behind that no longer fit. So the recorder rewrites them at
each flush (``patch_sizes``), and the reader believes a size only as far as the file goes. Format:
RIFF with a 44-byte header of one ``fmt`` and one ``data`` chunk (Microsoft "Multimedia Data
Standards Update", 1994).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

__all__ = ["WAV_HEADER_BYTES", "Wav", "parse_wav", "patch_sizes", "read_wav", "wav_header"]

WAV_HEADER_BYTES = 44

_HEADER = struct.Struct("<4sI4s4sIHHIIHH4sI")
_RIFF = struct.Struct("<4sI4s")
_CHUNK = struct.Struct("<4sI")
_FMT = struct.Struct("<HHIIHH")
_SIZE = struct.Struct("<I")

_RIFF_SIZE_AT = 4
_DATA_SIZE_AT = 40
_BEFORE_DATA_BYTES = WAV_HEADER_BYTES - 8  # what the RIFF size counts besides the data

_PCM = 0x0001
_EXTENSIBLE = 0xFFFE
_PCM_SUBFORMAT = bytes.fromhex("0100000000001000800000aa00389b71")  # KSDATAFORMAT_SUBTYPE_PCM
_SUBFORMAT_AT = 24  # within an extensible fmt chunk

_UNKNOWN_SIZE = 0xFFFFFFFF  # "to the end of the file", as streaming writers put it


class Wav(NamedTuple):
    """What a WAV file holds."""

    pcm: bytes
    """PCM16, channels interleaved, whole samples of all channels."""

    sample_rate_hz: int
    channels: int


def wav_header(*, channels: int, sample_rate_hz: int, data_bytes: int) -> bytes:
    """The 44 bytes before ``data_bytes`` bytes of PCM16.

    More than 4 GiB (37 hours of stereo at 8 kHz) do not fit the field: the size then says "to the
    end of the file", and the recording goes on.

    Raises:
        ValueError: No channels, no rate, or a negative size.
    """
    if channels < 1 or sample_rate_hz < 1:
        raise ValueError(f"{channels} channels at {sample_rate_hz} Hz are no audio")
    riff_size, data_size = _sizes(data_bytes)
    frame_bytes = 2 * channels
    return _HEADER.pack(
        b"RIFF",
        riff_size,
        b"WAVE",
        b"fmt ",
        _FMT.size,
        _PCM,
        channels,
        sample_rate_hz,
        sample_rate_hz * frame_bytes,
        frame_bytes,
        16,
        b"data",
        data_size,
    )


def patch_sizes(file: BinaryIO, data_bytes: int) -> None:
    """Rewrite both sizes in a file that began with ``wav_header``, and return to the same position.

    Call it after the data is written: killed in between, the file keeps the older sizes and is
    still whole.

    Args:
        file: Seekable and writable, not in append mode (which would write at the end).
        data_bytes: Bytes of PCM16 after the header.

    Raises:
        ValueError: A negative size.
    """
    riff_size, data_size = _sizes(data_bytes)
    position = file.tell()
    file.seek(_RIFF_SIZE_AT)
    file.write(_SIZE.pack(riff_size))
    file.seek(_DATA_SIZE_AT)
    file.write(_SIZE.pack(data_size))
    file.seek(position)


def read_wav(path: str | Path) -> Wav:
    """Read a whole WAV file of PCM16; see ``parse_wav``.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is not a WAV file of PCM16.
    """
    return parse_wav(Path(path).read_bytes())


def parse_wav(content: bytes) -> Wav:
    """Read WAV bytes, also of a writer that was killed.

    A data size of 0xffffffff or beyond the end means "to the end of the file". So does 0, unless
    the RIFF size confirms it. Half a sample at the end is cut off.

    Raises:
        ValueError: Not RIFF/WAVE, not 16-bit PCM, or no data chunk.
    """
    if len(content) < _RIFF.size:
        raise ValueError("not a WAV file: too short")
    riff, riff_size, wave = _RIFF.unpack_from(content)
    if riff != b"RIFF" or wave != b"WAVE":
        raise ValueError("not a WAV file: no RIFF/WAVE header")
    is_size_true = riff_size + 8 == len(content)
    layout: tuple[int, int] | None = None
    for name, size, start in _chunks(content):
        if name == b"fmt ":
            layout = _parse_fmt(content[start : start + size])
        elif name == b"data":
            if layout is None:
                raise ValueError("not a usable WAV file: data comes before fmt")
            sample_rate_hz, channels = layout
            end = len(content) if size == 0 and not is_size_true else start + size
            pcm = content[start:end]
            whole_bytes = len(pcm) - len(pcm) % (2 * channels)
            return Wav(pcm[:whole_bytes], sample_rate_hz, channels)
    raise ValueError("not a usable WAV file: no data chunk")


def _sizes(data_bytes: int) -> tuple[int, int]:
    """RIFF size and data size for a header."""
    if data_bytes < 0:
        raise ValueError(f"data_bytes must not be negative, not {data_bytes}")
    riff_size = data_bytes + _BEFORE_DATA_BYTES
    if riff_size >= _UNKNOWN_SIZE:
        return _UNKNOWN_SIZE, _UNKNOWN_SIZE
    return riff_size, data_bytes


def _chunks(content: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Each chunk's name, declared size and start; chunks begin at even offsets."""
    at = _RIFF.size
    while at + _CHUNK.size <= len(content):
        name, size = _CHUNK.unpack_from(content, at)
        at += _CHUNK.size
        yield name, size, at
        at += size + size % 2


def _parse_fmt(chunk: bytes) -> tuple[int, int]:
    """Sample rate and channels of a fmt chunk that says 16-bit PCM."""
    if len(chunk) < _FMT.size:
        raise ValueError("not a usable WAV file: fmt chunk too short")
    encoding, channels, sample_rate_hz, _, _, bits = _FMT.unpack_from(chunk)
    is_pcm = encoding == _PCM or (
        encoding == _EXTENSIBLE and chunk[_SUBFORMAT_AT:].startswith(_PCM_SUBFORMAT)
    )
    if not is_pcm or bits != 16:
        raise ValueError(f"not 16-bit PCM: format {encoding:#06x}, {bits} bits")
    if channels < 1 or sample_rate_hz < 1:
        raise ValueError(f"{channels} channels at {sample_rate_hz} Hz are no audio")
    return sample_rate_hz, channels
