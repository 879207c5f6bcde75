from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from twilio.request_validator import RequestValidator

from tests.support.bot_server import (
    BotServer,
    Received,
    Stream,
    bot_server,
    markup,
    read_to_the_end,
)
from tests.support.waiting import eventually
from trunkline.audio import encode, tone
from trunkline.simulator.contract import StreamReport
from trunkline.simulator.faults import Fault, Faults
from trunkline.simulator.line import Line
from trunkline.simulator.twilio.connection import Dialing, MediaConnection
from trunkline.simulator.twilio.stream import MEDIA_FORMAT, TwilioMedia
from trunkline.simulator.twilio.twiml import Connect

TOKEN = "0123456789abcdef0123456789abcdef"
SPEECH = encode(tone(440, 400, 8000), MEDIA_FORMAT)


class Running:
    """A connection, its line, and what stops it."""

    def __init__(self, url: str, faults: Faults, *, via: str | None = None) -> None:
        self.line = Line(media_format=MEDIA_FORMAT)
        self.media = TwilioMedia(account_id="AC1", call_id="CA1", stream_id="MZ1", parameters={})
        self.connection = MediaConnection(
            verb=Connect(url=url),
            media=self.media,
            line=self.line,
            dialing=Dialing(auth_token=TOKEN, via=via),
            faults=faults,
        )
        self.stopping = asyncio.Event()

    async def tick(self, times: int = 1) -> None:
        """Let frames of time pass, as fast as the machine can."""
        for _ in range(times):
            self.connection.tick(self.line.tick())
            await asyncio.sleep(0)


def nothing(_: Received) -> object:
    return markup("<Response/>")


@asynccontextmanager
async def connected(
    server: BotServer, *wanted: Fault, after_ms: int = 100
) -> AsyncIterator[tuple[Running, asyncio.Task[StreamReport], Stream]]:
    """Open a connection to the server; it is stopped at the end if it still runs."""
    faults = Faults(wanted=frozenset(wanted), after_ms=after_ms)
    running = Running(f"{server.url.replace('http', 'ws')}/ws", faults)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(running.connection.run(running.stopping))
        await eventually(lambda: server.streams and server.streams[0].messages)
        try:
            yield running, task, server.streams[0]
        finally:
            running.stopping.set()


async def test_the_upgrade_is_signed_and_the_stream_begins() -> None:
    async with (
        bot_server(nothing, read_to_the_end) as server,
        connected(server) as (running, task, stream),
    ):
        await eventually(lambda: "start" in stream.events())
        await running.tick(3)
        await eventually(lambda: stream.events().count("media") == 3)
        running.stopping.set()
        report = await task
    url = f"{server.url.replace('http', 'ws')}/ws"
    signature = stream.headers["x-twilio-signature"]

    assert stream.events() == ["connected", "start", "media", "media", "media", "stop"]
    assert RequestValidator(TOKEN).validate(url, {}, signature)
    assert "sec-websocket-extensions" not in stream.headers
    assert (report.ended_by, report.close_code, report.sent_frames) == ("carrier", 1000, 3)


async def test_a_refused_upgrade_is_on_record() -> None:
    async with bot_server(nothing) as server:
        server.refuse_upgrade = True
        running = Running(f"{server.url.replace('http', 'ws')}/ws", Faults())
        report = await running.connection.run(running.stopping)

    assert report.refused_status == 403
    assert [each.code for each in running.connection.violations] == ["31920"]


async def test_nobody_there_is_on_record() -> None:
    async with bot_server(nothing) as server:
        pass
    running = Running(f"{server.url.replace('http', 'ws')}/ws", Faults())
    report = await running.connection.run(running.stopping)

    assert report.refused_status == 0
    assert [each.code for each in running.connection.violations] == ["31920"]


async def test_marks_come_back_when_played_and_at_once_on_clear() -> None:
    async def talk(stream: Stream) -> None:
        await stream.receive_until("start")
        payload = base64.b64encode(SPEECH).decode()
        ids = {"streamSid": stream.stream_id}
        await stream.send({"event": "mark", **ids, "mark": {"name": "empty"}})
        await stream.send({"event": "media", **ids, "media": {"payload": payload}})
        await stream.send({"event": "mark", **ids, "mark": {"name": "spoken"}})
        await stream.receive_until("media")
        await stream.send({"event": "clear", **ids})
        await read_to_the_end(stream)

    async with bot_server(nothing, talk) as server:
        async with connected(server) as (running, _, stream):
            await eventually(lambda: running.line.playout.received_bytes == len(SPEECH))
            await running.tick(5)
            await eventually(lambda: stream.events().count("mark") == 2)
        marks = [each["mark"] for each in stream.messages if each["event"] == "mark"]

    assert marks == [{"name": "empty"}, {"name": "spoken"}]
    counts = running.line.counts()
    assert counts.clears == 1
    assert counts.played_bytes + counts.cleared_bytes == len(SPEECH)


async def test_a_server_that_closes_cuts_off_what_was_not_played() -> None:
    async def talk(stream: Stream) -> None:
        await stream.receive_until("start")
        payload = base64.b64encode(SPEECH).decode()
        message = {"event": "media", "streamSid": stream.stream_id, "media": {"payload": payload}}
        await stream.send(message)

    async with bot_server(nothing, talk) as server, connected(server) as (running, task, _):
        report = await task

    assert (report.ended_by, report.close_code) == ("server", 1000)
    assert running.line.counts().unplayed_bytes == len(SPEECH)
    assert running.connection.violations == []


async def test_no_start_means_no_audio_either() -> None:
    async with bot_server(nothing, read_to_the_end) as server:
        async with connected(server, Fault.NO_START) as (running, _, stream):
            await running.tick(10)
        await eventually(lambda: stream.close_code is not None)

    assert stream.events() == ["connected", "stop"]


async def test_no_stop_is_said_when_that_is_asked_for() -> None:
    async with bot_server(nothing, read_to_the_end) as server:
        async with connected(server, Fault.NO_STOP) as (running, _, stream):
            await running.tick(2)
        await eventually(lambda: stream.close_code is not None)

    assert stream.events() == ["connected", "start", "media", "media"]


async def test_a_dropped_socket_ends_without_a_close_frame() -> None:
    async with bot_server(nothing, read_to_the_end) as server:
        async with connected(server, Fault.DROP_SOCKET) as (running, task, stream):
            await running.tick(5)  # 100 ms
            report = await task
        await eventually(lambda: stream.close_code is not None)

    assert report.ended_by == "fault"
    assert stream.close_code in (1005, 1006)
    assert "stop" not in stream.events()


async def test_garbage_comes_among_good_messages() -> None:
    async with (
        bot_server(nothing, read_to_the_end) as server,
        connected(server, Fault.GARBAGE_FRAMES) as (running, _, stream),
    ):
        await running.tick(10)
        await eventually(lambda: stream.events().count("media") >= 12)

    assert b"\x00\x01\x02\xff" in stream.raw
    assert "not json" in stream.raw
    assert stream.events()[-2:] == ["media", "stop"]


async def test_odd_frames_carry_the_same_audio() -> None:
    async with bot_server(nothing, read_to_the_end) as server:
        async with connected(server, Fault.ODD_FRAMES, after_ms=40) as (running, _, stream):
            await running.tick(6)
            await eventually(lambda: stream.events().count("media") == 10)
        sizes = [
            len(base64.b64decode(each["media"]["payload"]))  # type: ignore[index]
            for each in stream.messages
            if each["event"] == "media"
        ]

    assert sum(sizes) == 6 * 160
    assert sizes[:2] == [160, 160]
    assert all(size % 8 for size in sizes[2:])


async def test_a_carrier_that_stops_reading_plays_nothing_more() -> None:
    said_all = asyncio.Event()

    async def talk(stream: Stream) -> None:
        await stream.receive_until("start")
        for _ in range(8):
            await stream.receive_until("media")
        payload = base64.b64encode(SPEECH).decode()
        for _ in range(3):
            ids = {"streamSid": stream.stream_id}
            await stream.send({"event": "media", **ids, "media": {"payload": payload}})
        said_all.set()
        await read_to_the_end(stream)

    async with (
        bot_server(nothing, talk) as server,
        connected(server, Fault.STOP_READING) as (running, _, _stream),
    ):
        await running.tick(10)
        await asyncio.wait_for(said_all.wait(), 5)
        await running.tick(10)
        received = running.line.playout.received_bytes

    # One message may be taken by the read that was under way.
    assert received <= len(SPEECH)


async def test_audio_that_the_server_is_too_slow_for_is_thrown_away() -> None:
    async with (
        bot_server(nothing, read_to_the_end) as server,
        connected(server) as (running, task, _),
    ):
        for _ in range(400):  # eight seconds at once, without a turn for the writer
            running.connection.tick(running.line.tick())
        running.stopping.set()
        report = await task

    assert report.discarded_frames == 400 - report.sent_frames > 0
    assert [each.code for each in running.connection.violations] == ["31930"]


@pytest.mark.parametrize("token_is_wrong", [True, False])
async def test_a_bad_signature_is_bad(token_is_wrong: bool) -> None:
    wanted = (Fault.BAD_UPGRADE_SIGNATURE,) if token_is_wrong else ()
    async with (
        bot_server(nothing, read_to_the_end) as server,
        connected(server, *wanted) as (_, _task, stream),
    ):
        pass
    url = f"{server.url.replace('http', 'ws')}/ws"
    valid = RequestValidator(TOKEN).validate(url, {}, stream.headers["x-twilio-signature"])

    assert valid is not token_is_wrong


async def test_a_socket_goes_where_it_is_sent_with_the_public_host() -> None:
    async with bot_server(nothing, read_to_the_end) as server:
        running = Running("wss://voice.example.test/ws", Faults(), via=server.url)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(running.connection.run(running.stopping))
            await eventually(lambda: server.streams)
            running.stopping.set()
    headers = server.streams[0].headers

    assert headers["host"] == "voice.example.test"
    signed = RequestValidator(TOKEN).compute_signature("wss://voice.example.test/ws", {})
    assert headers["x-twilio-signature"] == signed
