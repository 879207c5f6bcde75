from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.support.bot_server import BotServer, Stream, bot_server, markup, read_to_the_end
from tests.support.waiting import eventually
from trunkline.simulator.connection import Dialing, MediaConnection, Words
from trunkline.simulator.contract import StreamReport
from trunkline.simulator.faults import Fault, Faults
from trunkline.simulator.line import Line
from trunkline.simulator.play_audio.stream import MEDIA_FORMAT, PlayAudioMedia
from trunkline.simulator.vobiz import RULES

WORDS = Words(refused="refused", lost="lost", slow="slow", garbage=["garbage"])


class Running:
    """A connection, its line, and what stops it."""

    def __init__(self, url: str, *faults: Fault, via: str | None = None) -> None:
        self.line = Line(media_format=MEDIA_FORMAT)
        self.stopping = asyncio.Event()
        self.connection = MediaConnection(
            media=PlayAudioMedia(RULES, account_id="MA_1", call_id="C1", stream_id="S1"),
            line=self.line,
            dialing=Dialing(url=url, headers={"X-Proof": "1", "User-Agent": "carrier"}, via=via),
            words=WORDS,
            parameters={"a": "1"},
            faults=Faults(wanted=frozenset(faults), after_ms=20),
        )

    async def tick(self, times: int = 1) -> None:
        """Let frames of time pass, as fast as the machine can."""
        for _ in range(times):
            self.connection.tick(self.line.tick())
            await asyncio.sleep(0)


@asynccontextmanager
async def connected(
    server: BotServer, *faults: Fault
) -> AsyncIterator[tuple[Running, asyncio.Task[StreamReport], Stream]]:
    running = Running(f"{server.url.replace('http', 'ws')}/ws", *faults)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(running.connection.run(running.stopping))
        await eventually(lambda: server.streams and server.streams[0].messages)
        try:
            yield running, task, server.streams[0]
        finally:
            running.stopping.set()


async def test_the_upgrade_has_the_carriers_headers_and_the_report_its_parameters() -> None:
    async with (
        bot_server(lambda _: markup(""), read_to_the_end) as server,
        connected(server) as (running, task, stream),
    ):
        await running.tick(2)
        await eventually(lambda: stream.events().count("media") == 2)
        running.stopping.set()
        report = await task
    assert (stream.headers["x-proof"], stream.headers["user-agent"]) == ("1", "carrier")
    assert (report.parameters, report.ended_by, report.sent_frames) == ({"a": "1"}, "carrier", 2)
    assert stream.events() == ["start", "media", "media"]


async def test_the_servers_stop_ends_the_stream() -> None:
    async def talk(stream: Stream) -> None:
        await stream.receive_until("start")
        await stream.send({"event": "stop", "streamId": "S1"})
        await read_to_the_end(stream)

    async with bot_server(lambda _: markup(""), talk) as server:
        running = Running(f"{server.url.replace('http', 'ws')}/ws")
        report = await running.connection.run(running.stopping)
    assert (report.ended_by, report.close_code) == ("server", 1000)
    assert running.connection.violations == []


async def test_a_clear_is_answered_as_the_carrier_does() -> None:
    async def talk(stream: Stream) -> None:
        await stream.receive_until("start")
        await stream.send({"event": "clearAudio", "streamId": "S1"})
        await stream.receive_until("clearedAudio")

    async with bot_server(lambda _: markup(""), talk) as server:
        running = Running(f"{server.url.replace('http', 'ws')}/ws")
        await running.connection.run(running.stopping)
    assert running.line.clears == 1


async def test_garbage_is_the_carriers() -> None:
    async with (
        bot_server(lambda _: markup(""), read_to_the_end) as server,
        connected(server, Fault.GARBAGE_FRAMES) as (running, _, stream),
    ):
        await running.tick(2)
        await eventually(lambda: "garbage" in stream.raw)


async def test_what_goes_wrong_has_the_carriers_words() -> None:
    async with bot_server(lambda _: markup("")) as server:
        server.refuse_upgrade = True
        running = Running(f"{server.url.replace('http', 'ws')}/ws")
        report = await running.connection.run(running.stopping)
    assert report.refused_status == 403
    assert [each.code for each in running.connection.violations] == ["refused"]


async def test_a_server_behind_a_proxy_is_reached_directly() -> None:
    async with bot_server(lambda _: markup(""), read_to_the_end) as server:
        running = Running("wss://voice.example.test/ws", via=server.url)
        running.stopping.set()
        report = await running.connection.run(running.stopping)
        (stream,) = server.streams
    assert stream.headers["host"] == "voice.example.test"
    assert report.url == "wss://voice.example.test/ws"
