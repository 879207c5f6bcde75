"""WAV: against the standard library's reader, and after every way a writer can die."""

from __future__ import annotations

import io
import struct
import wave
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.audio.wav import WAV_HEADER_BYTES, Wav, parse_wav, patch_sizes, read_wav, wav_header

STEREO = bytes(range(200)) * 2  # 100 samples of two channels
PCM_FMT = struct.pack("<HHIIHH", 1, 1, 8000, 16000, 2, 16)


def chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + b"\x00" * (len(content) % 2)


def riff(*chunks: bytes) -> bytes:
    return chunk(b"RIFF", b"WAVE" + b"".join(chunks))


def header(data_bytes: int) -> bytes:
    return wav_header(channels=2, sample_rate_hz=8000, data_bytes=data_bytes)


@given(st.integers(1, 8), st.sampled_from([8000, 16000, 22050, 48000]), st.integers(0, 50))
def test_what_is_written_is_read_here_and_by_the_standard_library(
    channels: int, sample_rate_hz: int, n_samples: int
) -> None:
    pcm = bytes(index % 251 for index in range(2 * channels * n_samples))
    head = wav_header(channels=channels, sample_rate_hz=sample_rate_hz, data_bytes=len(pcm))
    assert len(head) == WAV_HEADER_BYTES
    assert parse_wav(head + pcm) == (pcm, sample_rate_hz, channels)
    with wave.open(io.BytesIO(head + pcm)) as reader:
        assert reader.getparams()[:4] == (channels, 2, sample_rate_hz, n_samples)
        assert reader.readframes(n_samples) == pcm


def test_the_header_is_the_one_that_the_standard_library_writes() -> None:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as writer:
        writer.setparams((2, 2, 8000, 0, "NONE", ""))
        writer.writeframes(STEREO)
    assert header(len(STEREO)) + STEREO == buffer.getvalue()


def test_read_wav_reads_a_file(tmp_path: Path) -> None:
    path = tmp_path / "call.wav"
    path.write_bytes(header(len(STEREO)) + STEREO)
    assert read_wav(path) == Wav(pcm=STEREO, sample_rate_hz=8000, channels=2)
    assert read_wav(str(path)) == read_wav(path)


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_wav(tmp_path / "absent.wav")


@pytest.mark.parametrize("declared", [0, 0xFFFFFFFF, 0x7FFFFFFF, len(STEREO) + 4])
def test_a_killed_writers_audio_is_read_to_the_end_of_the_file(declared: int) -> None:
    content = header(len(STEREO)) + STEREO
    content = content[:40] + struct.pack("<I", declared) + content[44:]
    content = content[:4] + struct.pack("<I", 36) + content[8:]
    assert parse_wav(content).pcm == STEREO


def test_a_size_from_the_last_flush_is_believed() -> None:
    assert parse_wav(header(40) + STEREO).pcm == STEREO[:40]


def test_half_a_sample_at_the_end_is_cut_off() -> None:
    for cut in (1, 2, 3):
        assert parse_wav(header(len(STEREO)) + STEREO[:-cut]).pcm == STEREO[:-4]


def test_an_empty_recording_is_empty() -> None:
    assert parse_wav(header(0)) == (b"", 8000, 2)


def test_an_empty_data_chunk_before_others_is_empty_when_the_sizes_agree() -> None:
    content = riff(chunk(b"fmt ", PCM_FMT), chunk(b"data", b""), chunk(b"LIST", b"INFOsoft"))
    assert parse_wav(content).pcm == b""


def test_other_chunks_are_passed_over_odd_ones_too() -> None:
    content = riff(
        chunk(b"LIST", b"odd"),
        chunk(b"fmt ", PCM_FMT),
        chunk(b"fact", b"1234"),
        chunk(b"data", STEREO),
        chunk(b"id3 ", b"x"),
    )
    assert parse_wav(content) == (STEREO, 8000, 1)


def test_extensible_pcm_is_pcm() -> None:
    subformat = bytes.fromhex("0100000000001000800000aa00389b71")
    fmt = struct.pack("<HHIIHHHHI", 0xFFFE, 1, 8000, 16000, 2, 16, 22, 16, 4) + subformat
    assert parse_wav(riff(chunk(b"fmt ", fmt), chunk(b"data", STEREO))) == (STEREO, 8000, 1)


def test_extensible_without_a_subformat_is_not_pcm() -> None:
    fmt = struct.pack("<HHIIHH", 0xFFFE, 1, 8000, 16000, 2, 16)
    with pytest.raises(ValueError, match="not 16-bit PCM: format 0xfffe"):
        parse_wav(riff(chunk(b"fmt ", fmt), chunk(b"data", STEREO)))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "too short"),
        (b"RIFF\x00\x00\x00\x00WAV", "too short"),
        (b"OggS" + bytes(60), "no RIFF/WAVE header"),
        (b"RIFF\x00\x00\x00\x00AVI " + bytes(60), "no RIFF/WAVE header"),
        (riff(), "no data chunk"),
        (riff(chunk(b"fmt ", PCM_FMT)), "no data chunk"),
        (riff(chunk(b"data", STEREO), chunk(b"fmt ", PCM_FMT)), "data comes before fmt"),
        (riff(chunk(b"fmt ", PCM_FMT[:-1]), chunk(b"data", STEREO)), "fmt chunk too short"),
        (
            riff(chunk(b"fmt ", struct.pack("<HHIIHH", 7, 1, 8000, 8000, 1, 8))),
            "format 0x0007, 8 bits",
        ),
        (
            riff(chunk(b"fmt ", struct.pack("<HHIIHH", 1, 1, 8000, 8000, 1, 8))),
            "format 0x0001, 8 bits",
        ),
        (riff(chunk(b"fmt ", struct.pack("<HHIIHH", 1, 0, 8000, 0, 0, 16))), "0 channels"),
        (riff(chunk(b"fmt ", struct.pack("<HHIIHH", 1, 1, 0, 0, 2, 16))), "at 0 Hz"),
    ],
)
def test_what_is_no_pcm16_wav_is_refused_with_the_reason(content: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_wav(content)


@given(st.binary(max_size=100), st.integers(0, 43), st.binary(min_size=1, max_size=8))
def test_any_bytes_are_audio_or_a_value_error(tail: bytes, at: int, damage: bytes) -> None:
    content = bytearray(header(len(tail)) + tail)
    content[at : at + len(damage)] = damage
    try:
        found = parse_wav(bytes(content))
    except ValueError:
        return
    assert len(found.pcm) % (2 * found.channels) == 0
    assert found.pcm in bytes(content)


@given(st.integers(0, 44 + len(STEREO)))
def test_a_file_cut_anywhere_gives_a_prefix_or_a_value_error(kept: int) -> None:
    content = (header(len(STEREO)) + STEREO)[:kept]
    if kept < WAV_HEADER_BYTES:
        with pytest.raises(ValueError, match="WAV file"):
            parse_wav(content)
    else:
        assert parse_wav(content).pcm == STEREO[: (kept - WAV_HEADER_BYTES) // 4 * 4]


def test_sizes_are_patched_while_the_writer_writes_on(tmp_path: Path) -> None:
    path = tmp_path / "call.wav"
    with path.open("w+b") as file:
        file.write(header(0))
        for flushed in range(1, 4):
            file.write(STEREO)
            patch_sizes(file, flushed * len(STEREO))
            file.flush()
            assert path.read_bytes() == header(flushed * len(STEREO)) + STEREO * flushed
    assert read_wav(path).pcm == STEREO * 3


@pytest.mark.parametrize("data_bytes", [0xFFFFFFFF - 36, 0xFFFFFFFF, 1 << 40])
def test_more_than_the_field_holds_means_to_the_end_of_the_file(data_bytes: int) -> None:
    head = header(data_bytes)
    assert head[4:8] == head[40:44] == b"\xff" * 4
    file = io.BytesIO(header(0) + STEREO)
    patch_sizes(file, data_bytes)
    assert parse_wav(file.getvalue()).pcm == STEREO


def test_the_largest_size_that_fits_is_written_as_it_is() -> None:
    data_bytes = 0xFFFFFFFF - 40
    assert struct.unpack_from("<I", header(data_bytes), 40) == (data_bytes,)
    assert struct.unpack_from("<I", header(data_bytes), 4) == (data_bytes + 36,)


@pytest.mark.parametrize(("channels", "sample_rate_hz"), [(0, 8000), (1, 0), (-1, 8000)])
def test_a_header_of_no_audio_is_refused(channels: int, sample_rate_hz: int) -> None:
    with pytest.raises(ValueError, match="are no audio"):
        wav_header(channels=channels, sample_rate_hz=sample_rate_hz, data_bytes=0)


def test_a_negative_size_is_refused() -> None:
    with pytest.raises(ValueError, match="must not be negative"):
        header(-1)
    with pytest.raises(ValueError, match="must not be negative"):
        patch_sizes(io.BytesIO(header(0)), -1)
