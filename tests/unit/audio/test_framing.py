"""Framer: any chunks in, equal frames out, no byte lost or invented."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.audio.framing import Framer

CHUNKS = st.lists(st.binary(max_size=50))


@given(CHUNKS, st.integers(1, 40))
def test_frames_join_to_what_was_pushed(chunks: list[bytes], frame_bytes: int) -> None:
    framer = Framer(frame_bytes)
    frames: list[bytes] = []
    for chunk in chunks:
        frames += framer.push(chunk)
        assert framer.held_bytes < frame_bytes
    assert all(len(frame) == frame_bytes for frame in frames)
    assert b"".join(frames) + framer.flush() == b"".join(chunks)


@given(CHUNKS, st.integers(1, 40), st.integers(0, 255))
def test_a_padded_flush_is_a_whole_frame_or_nothing(
    chunks: list[bytes], frame_bytes: int, pad: int
) -> None:
    framer = Framer(frame_bytes)
    for chunk in chunks:
        framer.push(chunk)
    pushed = b"".join(chunks)
    held = len(pushed) % frame_bytes
    last = framer.flush(pad)
    assert len(last) == (frame_bytes if held else 0)
    assert last[:held] == pushed[len(pushed) - held :]
    assert set(last[held:]) <= {pad}
    assert framer.held_bytes == 0
    assert framer.flush(pad) == b""


def test_the_first_complete_frame_comes_at_once() -> None:
    framer = Framer(4)
    assert framer.frame_bytes == 4
    assert framer.push(b"abc") == []
    assert framer.held_bytes == 3
    assert framer.push(b"defghij") == [b"abcd", b"efgh"]
    assert framer.held_bytes == 2
    assert framer.flush(0xFF) == b"ij\xff\xff"


def test_a_chunk_of_frame_size_is_handed_on_uncopied() -> None:
    frame = bytes(160)
    assert Framer(160).push(frame)[0] is frame


def test_frames_are_bytes_whatever_comes_later() -> None:
    framer = Framer(2)
    first = framer.push(b"abc")
    framer.push(b"de")
    assert first == [b"ab"]
    assert type(first[0]) is bytes


def test_cleared_audio_is_never_seen_again() -> None:
    framer = Framer(4)
    framer.push(b"old")
    framer.clear()
    assert framer.held_bytes == 0
    assert framer.push(b"new!") == [b"new!"]


@pytest.mark.parametrize("frame_bytes", [0, -160])
def test_a_frame_has_at_least_one_byte(frame_bytes: int) -> None:
    with pytest.raises(ValueError, match="frame_bytes must be at least 1"):
        Framer(frame_bytes)


def test_a_pad_that_is_no_byte_is_refused() -> None:
    framer = Framer(4)
    framer.push(b"a")
    with pytest.raises(ValueError, match="range"):
        framer.flush(256)
