from __future__ import annotations

import base64
import json

import pytest
from starlette.responses import JSONResponse, Response

from tests.support.bot_server import Received, Stream, bot_server
from trunkline.simulator.caller import Caller, HangUp, Pause, Press
from trunkline.simulator.contract import CallReport, HungUpBy, Ring, Setup
from trunkline.simulator.exotel.phone import basic
from trunkline.simulator.exotel.service import ExotelService, ExotelSimulator
from trunkline.simulator.faults import Fault, Faults


def json_url(received: Received) -> Response:
    return JSONResponse({"url": f"ws://{received.headers['host']}/ws?tenant=acme"})


async def hang_up_soon(stream: Stream) -> None:
    await stream.receive_until("start")


def started(stream: Stream) -> dict[str, object]:
    start = next(message for message in stream.messages if message["event"] == "start")
    details = start["start"]
    assert isinstance(details, dict)
    return details


async def ring(
    exotel: ExotelService, url: str, caller: Caller | None = None, *faults: Fault, **more: object
) -> CallReport:
    return await exotel.ring(
        Ring(
            webhook_url=f"{url}/inbound",
            caller=caller or Caller([HangUp()]),
            faults=Faults(wanted=frozenset(faults), after_ms=200),
            markup=more.get("static"),  # type: ignore[arg-type] - text or None
        )
    )


async def test_a_call_asks_for_its_media_url() -> None:
    async with bot_server(json_url) as server, ExotelSimulator().open(Setup()) as exotel:
        steps = Caller([Pause(duration_ms=300), Press(digit="5"), Pause(duration_ms=300), HangUp()])
        report = await ring(exotel, server.url, steps)
        credentials = exotel.credentials

    (asked,) = server.received
    assert asked.method == "GET"
    assert asked.headers["authorization"] == basic(*credentials)["Authorization"]
    assert asked.fields["CallSid"] == report.carrier_call_id
    assert (report.status, report.hung_up_by) == ("completed", HungUpBy.CALLER)
    assert report.violations == ()
    (stream,) = server.streams
    assert "authorization" not in stream.headers
    assert started(stream)["custom_parameters"] == {"tenant": "acme"}
    assert [event for event in stream.events() if event != "media"] == [
        *("connected", "start", "dtmf"),
        "stop",
    ]
    assert report.counts.said_frames >= 3


async def test_our_close_goes_on_to_the_flows_end() -> None:
    async with (
        bot_server(json_url, hang_up_soon) as server,
        ExotelSimulator().open(Setup()) as exotel,
    ):
        report = await ring(exotel, server.url, Caller([]))
    assert (report.status, report.hung_up_by) == ("completed", HungUpBy.MARKUP)
    assert report.streams[0].ended_by == "server"


async def test_a_static_url_brings_its_password() -> None:
    async with bot_server(json_url) as server, ExotelSimulator().open(Setup()) as exotel:
        address = server.url.removeprefix("http://")
        report = await ring(exotel, server.url, static=f"ws://exo:p%40ss@{address}/ws")
    assert server.received == []
    assert server.streams[0].headers["authorization"] == basic("exo", "p@ss")["Authorization"]
    assert "exo" not in report.streams[0].url


@pytest.mark.parametrize(
    "response",
    [Response(status_code=503), JSONResponse({}), JSONResponse({"url": "https://h/ws"})],
)
async def test_an_applet_that_fails_ends_the_call(response: Response) -> None:
    async with (
        bot_server(lambda _: response) as server,
        ExotelSimulator().open(Setup()) as exotel,
    ):
        report = await ring(exotel, server.url)
    assert (report.status, report.hung_up_by) == ("failed", HungUpBy.MARKUP)
    assert len(report.violations) == 1
    assert report.streams == ()


async def test_a_refused_socket_is_tried_once_more() -> None:
    async with bot_server(json_url) as server, ExotelSimulator().open(Setup()) as exotel:
        server.refuse_upgrade = True
        report = await ring(exotel, server.url, Caller([]))
    assert report.status == "failed"
    assert [stream.refused_status for stream in report.streams] == [403, 403]


async def test_the_same_request_twice_must_get_the_same_answer() -> None:
    async with bot_server(json_url) as server, ExotelSimulator().open(Setup()) as exotel:
        good = await ring(exotel, server.url, None, Fault.DUPLICATE_WEBHOOK)
        answers = iter("12")
        server.answer = lambda received: JSONResponse(
            {"url": f"ws://{received.headers['host']}/{next(answers)}"}
        )
        bad = await ring(exotel, server.url, None, Fault.DUPLICATE_WEBHOOK)
    assert good.violations == ()
    assert [violation.code for violation in bad.violations] == ["not-idempotent"]


async def test_a_forger_knows_another_password() -> None:
    async with bot_server(json_url) as server, ExotelSimulator().open(Setup()) as exotel:
        await ring(exotel, server.url, None, Fault.BAD_SIGNATURE)
        right = basic(*exotel.credentials)["Authorization"]
    assert server.received[0].headers["authorization"] != right


async def test_a_lost_socket_ends_the_call() -> None:
    async with bot_server(json_url) as server, ExotelSimulator().open(Setup()) as exotel:
        report = await ring(exotel, server.url, Caller([]), Fault.DROP_SOCKET)
    assert report.hung_up_by is HungUpBy.CARRIER
    assert report.streams[0].ended_by == "fault"


async def burst(stream: Stream) -> None:
    """Say three seconds at once."""
    await stream.receive_until("start")
    payload = base64.b64encode(bytes(48_000)).decode()
    sid = started(stream)["stream_sid"]
    message = {"event": "media", "stream_sid": sid, "media": {"payload": payload}}
    await stream.socket.send_text(json.dumps(message))
    for _ in range(4):
        await stream.receive_until("media")


async def test_a_burst_is_told() -> None:
    async with bot_server(json_url, burst) as server, ExotelSimulator().open(Setup()) as exotel:
        report = await ring(exotel, server.url, Caller([]))
    assert [violation.code for violation in report.violations] == ["burst"]
    assert report.counts.received_bytes == 48_000
