from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.waiting import eventually
from trunkline.dispatch.channel import (
    MAX_FRAME_BYTES,
    BlockingChannel,
    Channel,
    FrameReader,
    frame,
    pack,
    split_audio_out,
)
from trunkline.dispatch.messages import (
    KIND_AUDIO_IN,
    ClearAudio,
    DtmfPressed,
    Hello,
    Message,
)
from trunkline.errors import ChannelError

FRAMES = st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=300)), max_size=20)


@given(frames=FRAMES, cuts=st.lists(st.integers(0, 6000), max_size=20))
def test_frames_come_out_as_they_went_in_however_they_are_cut(
    frames: list[tuple[int, bytes]], cuts: list[int]
) -> None:
    stream = b"".join(frame(kind, payload) for kind, payload in frames)
    edges = [0, *sorted(cut for cut in cuts if cut < len(stream)), len(stream)]
    reader = FrameReader()
    found = [got for start, end in pairwise(edges) for got in reader.feed(stream[start:end])]
    assert found == frames


@given(st.binary(max_size=200))
def test_any_bytes_give_frames_or_a_channel_error(data: bytes) -> None:
    try:
        for kind, payload in FrameReader().feed(data):
            assert 0 <= kind <= 255
            assert len(payload) <= len(data)
    except ChannelError:
        pass


@pytest.mark.parametrize("length", [0, MAX_FRAME_BYTES + 1, 0xFFFFFFFF])
def test_an_impossible_length_is_refused_before_its_payload_comes(length: int) -> None:
    with pytest.raises(ChannelError, match=f"{length} bytes"):
        list(FrameReader().feed(length.to_bytes(4, "big") + b"\x01"))


def test_a_frame_may_be_as_long_as_the_limit_and_no_longer() -> None:
    payload = bytes(MAX_FRAME_BYTES - 1)
    assert list(FrameReader().feed(frame(7, payload))) == [(7, payload)]
    with pytest.raises(ChannelError, match="longer than"):
        frame(7, payload + b"x")


def test_audio_without_its_header_is_refused() -> None:
    assert split_audio_out(b"\0\0\0\1\0\0\0\2abc") == (1, 2, b"abc")
    with pytest.raises(ChannelError, match="header"):
        split_audio_out(b"\0\0\0\1\0\0\0")


class End:
    """One end of a channel that keeps what it got."""

    def __init__(self, *, with_audio: bool = True) -> None:
        self.messages: list[Message] = []
        self.audio: list[bytes] = []
        self.closed: list[Exception | None] = []
        self.channel = Channel(
            on_message=self.messages.append,
            on_audio=self.audio.append if with_audio else None,
            on_closed=self.closed.append,
            sender="test",
        )

    async def connect(self, sock: socket.socket) -> None:
        await asyncio.get_running_loop().connect_accepted_socket(lambda: self.channel, sock)


@asynccontextmanager
async def pair(*, with_audio: bool = True) -> AsyncIterator[tuple[End, End]]:
    ours, theirs = socket.socketpair()
    left, right = End(with_audio=with_audio), End(with_audio=with_audio)
    await left.connect(ours)
    await right.connect(theirs)
    yield left, right
    left.channel.abort()
    right.channel.abort()
    await asyncio.sleep(0)


@asynccontextmanager
async def raw() -> AsyncIterator[tuple[End, socket.socket]]:
    ours, theirs = socket.socketpair()
    end = End()
    await end.connect(ours)
    with theirs:
        yield end, theirs
    end.channel.abort()
    await asyncio.sleep(0)


async def test_messages_and_audio_arrive_in_order() -> None:
    async with pair() as (left, right):
        left.channel.send(DtmfPressed(digit="5"))
        left.channel.send_audio_in(b"in")
        right.channel.send_audio_out(3, 40, b"out")
        right.channel.send(ClearAudio())
        await eventually(lambda: right.audio and left.audio and len(left.messages) == 2)
        assert right.messages == [Hello(sender="test"), DtmfPressed(digit="5")]
        assert right.audio == [b"in"]
        assert split_audio_out(left.audio[0]) == (3, 40, b"out")
        assert left.messages[-1] == ClearAudio()


async def test_the_peers_orderly_end_is_told_once_and_ours_is_not() -> None:
    async with pair() as (left, right):
        await eventually(lambda: left.messages and right.messages)
        left.channel.send(ClearAudio())
        left.channel.close()
        left.channel.close()
        await eventually(lambda: right.closed)
        assert right.closed == [None]
        assert right.messages[-1] == ClearAudio(), "what was queued is sent first"
        assert left.closed == []
        assert left.channel.is_closed
        left.channel.send(ClearAudio())
        left.channel.send_audio_in(b"")
        left.channel.send_audio_out(1, 0, b"")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (pack(ClearAudio()), "the first message was not hello"),
        (frame(KIND_AUDIO_IN, b"x"), "audio came where none is expected"),
        (pack(Hello(version=2)), "version 2"),
        (b"\0\0\0\0\0", "0 bytes"),
        (pack(Hello()) + frame(255, b""), "unknown message kind 255"),
        (pack(Hello()) + frame(23, b"\xc1"), "cannot be read"),
    ],
)
async def test_what_makes_no_sense_ends_the_channel_with_the_reason(
    data: bytes, reason: str
) -> None:
    async with raw() as (end, peer):
        peer.sendall(data)
        await eventually(lambda: end.closed)
        assert len(end.closed) == 1
        assert isinstance(end.closed[0], ChannelError)
        assert reason in str(end.closed[0])


async def test_audio_is_refused_where_nobody_wants_it() -> None:
    async with pair(with_audio=False) as (left, right):
        left.channel.send_audio_in(b"x")
        await eventually(lambda: right.closed)
        assert isinstance(right.closed[0], ChannelError)


async def test_too_much_audio_is_refused_before_it_is_sent() -> None:
    async with pair() as (left, _):
        with pytest.raises(ChannelError, match="one frame"):
            left.channel.send_audio_out(1, 0, bytes(MAX_FRAME_BYTES))


async def test_a_peer_that_never_reads_shows_in_what_is_unsent() -> None:
    async with raw() as (end, _):
        assert end.channel.unsent_bytes == 0
        for _ in range(40):
            end.channel.send_audio_in(bytes(100_000))
        assert end.channel.unsent_bytes > 1_000_000


async def test_a_channel_that_was_given_up_while_it_connected_closes_at_once() -> None:
    ours, theirs = socket.socketpair()
    end = End()
    end.channel.close()
    assert end.channel.unsent_bytes == 0
    await end.connect(ours)
    with theirs:
        theirs.setblocking(False)
        assert await asyncio.get_running_loop().sock_recv(theirs, 10) == b""


def test_a_blocking_channel_greets_sends_and_receives() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        channel = BlockingChannel(ours, sender="zygote")
        assert channel.fileno() == ours.fileno()
        channel.send(ClearAudio())
        sent = list(FrameReader().feed(theirs.recv(100)))
        assert [kind for kind, _ in sent] == [Hello.KIND, ClearAudio.KIND]
        theirs.sendall(pack(Hello()) + pack(DtmfPressed(digit="1")) + b"\0")
        assert channel.receive() == [Hello(), DtmfPressed(digit="1")]
        theirs.shutdown(socket.SHUT_WR)
        assert channel.receive() is None
        channel.finish()
        assert theirs.recv(100) == b""


def test_a_blocking_channel_refuses_another_version() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        channel = BlockingChannel(ours, sender="zygote")
        theirs.sendall(pack(Hello(version=9)))
        with pytest.raises(ChannelError, match="version 9"):
            channel.receive()
        channel.close()


async def test_nothing_is_delivered_after_the_channel_was_failed_by_its_owner() -> None:
    async with raw() as (end, peer):
        peer.sendall(pack(Hello()))
        await eventually(lambda: end.messages)
        end.channel.fail(RuntimeError("enough"))
        end.channel.fail(RuntimeError("again"))
        await eventually(lambda: end.closed)
        assert [str(error) for error in end.closed] == ["enough"]
