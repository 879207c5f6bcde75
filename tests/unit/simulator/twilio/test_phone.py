from __future__ import annotations

import asyncio
from collections.abc import Callable

import httpx
import pytest
from starlette.responses import Response

from tests.support.bot_server import (
    BotServer,
    Received,
    Stream,
    bot_server,
    markup,
    read_to_the_end,
)
from tests.support.waiting import eventually
from trunkline.simulator.callee import Callee, Outcome
from trunkline.simulator.caller import Caller, HangUp, Pause, Press
from trunkline.simulator.contract import CallReport, HungUpBy, Ring, Setup
from trunkline.simulator.faults import Fault, Faults
from trunkline.simulator.twilio.service import TwilioService, TwilioSimulator

Documents = dict[str, str]


def answering(documents: Documents) -> Callable[[Received], Response]:
    """Answer each path with its document; {ws} in it is the media socket's address."""

    def answer(received: Received) -> Response:
        text = documents.get(received.path)
        if text is None:
            return Response(status_code=404)
        host = received.headers["host"]
        return markup(text.replace("{ws}", f"ws://{host}/ws").replace("{http}", f"http://{host}"))

    return answer


CONNECT = '<Connect><Stream url="{ws}"><Parameter name="agent_name" value="a"/></Stream></Connect>'


async def ring(
    documents: Documents,
    *,
    steps: Caller | None = None,
    faults: Faults | None = None,
    talk: Callable[[Stream], object] | None = None,
    markup_text: str | None = None,
    prepare: Callable[[TwilioService], None] | None = None,
) -> tuple[CallReport, BotServer]:
    async with (
        bot_server(answering(documents), talk or read_to_the_end) as server,  # type: ignore[arg-type]
        TwilioSimulator().open(Setup()) as twilio,
    ):
        if prepare is not None:
            prepare(twilio)
        static = None
        if markup_text is not None:
            static = markup_text.replace("{ws}", f"{server.url.replace('http', 'ws')}/ws")
        report = await twilio.ring(
            Ring(
                webhook_url=f"{server.url}/inbound",
                caller=steps or Caller([HangUp()]),
                faults=faults or Faults(),
                markup=static,
                status_url=f"{server.url}/status",
            )
        )
    return report, server


async def hang_up_soon(stream: Stream) -> None:
    await stream.receive_until("start")


async def test_after_the_stream_the_call_goes_on_with_the_next_verb() -> None:
    documents = {
        "/inbound": f"<Response>{CONNECT}<Redirect>/continue</Redirect></Response>",
        "/continue": "<Response><Hangup/></Response>",
    }
    report, server = await ring(documents, steps=Caller([]), talk=hang_up_soon)

    assert [each.path for each in server.received] == ["/inbound", "/continue", "/status"]
    assert report.hung_up_by is HungUpBy.MARKUP
    assert report.streams[0].parameters == {"agent_name": "a"}
    assert server.received[0].fields["CallStatus"] == "ringing"
    assert server.received[1].fields["CallStatus"] == "in-progress"
    status = server.received[2].fields
    assert (status["CallStatus"], status["SequenceNumber"]) == ("completed", "0")


async def test_a_caller_who_hangs_up_stops_the_stream_and_no_more_documents_are_fetched() -> None:
    documents = {"/inbound": f"<Response>{CONNECT}<Redirect>/continue</Redirect></Response>"}
    steps = Caller([Press(digit="1"), Pause(duration_ms=100), HangUp()])
    report, server = await ring(documents, steps=steps)

    assert report.hung_up_by is HungUpBy.CALLER
    assert [each.path for each in server.received] == ["/inbound", "/status"]
    assert server.streams[0].events()[-1] == "stop"


async def test_connect_may_name_its_own_way_on() -> None:
    connect = CONNECT.replace("<Connect>", '<Connect action="/after">')
    documents = {
        "/inbound": f"<Response>{connect}<Say>never</Say></Response>",
        "/after": "<Response><Hangup/></Response>",
    }
    report, server = await ring(documents, steps=Caller([]), talk=hang_up_soon)

    assert server.of("/after")
    assert report.spoken == ()


async def test_a_refused_call_is_never_answered() -> None:
    report, _ = await ring({"/inbound": '<Response><Reject reason="busy"/></Response>'})

    assert (report.status, report.duration_ms, report.counts.said_frames) == ("busy", 0, 0)


@pytest.mark.parametrize(
    ("response", "code"),
    [
        (Response(status_code=403), "11200"),
        (Response("<Response/>", media_type="application/json"), "12300"),
        (markup("<Response"), "12100"),
    ],
)
async def test_an_answer_that_is_no_document_ends_the_call(response: Response, code: str) -> None:
    async with (
        bot_server(lambda _: response) as server,
        TwilioSimulator().open(Setup()) as twilio,
    ):
        caller = Caller([])
        report = await twilio.ring(Ring(webhook_url=f"{server.url}/inbound", caller=caller))

    assert report.hung_up_by is HungUpBy.CARRIER
    assert [each.code for each in report.violations] == [code]


async def test_documents_that_lead_in_a_circle_are_ended() -> None:
    documents = {"/inbound": "<Response><Redirect>/inbound</Redirect></Response>"}
    report, _ = await ring(documents, steps=Caller([]))

    assert report.violations[-1].detail == "documents lead in a circle"
    assert report.hung_up_by is HungUpBy.CARRIER


async def test_a_message_is_spoken_and_then_the_call_ends() -> None:
    documents = {"/inbound": "<Response><Say>Hi</Say><Pause length='0'/></Response>"}
    report, _ = await ring(documents, steps=Caller([]))

    assert report.spoken == ("Hi",)
    assert report.hung_up_by is HungUpBy.MARKUP


async def test_a_forwarded_call_reports_how_it_went() -> None:
    documents = {
        "/inbound": "<Response><Dial action='/after'>+14155550111</Dial></Response>",
        "/after": "<Response/>",
    }

    def prepare(twilio: TwilioService) -> None:
        twilio.callees["+14155550111"] = Callee(outcome=Outcome.BUSY, ring_s=0)

    report, server = await ring(documents, steps=Caller([]), prepare=prepare)

    assert report.forwarded_to == ("+14155550111",)
    assert server.of("/after")[0].fields["DialCallStatus"] == "busy"


async def test_a_static_document_needs_no_webhook() -> None:
    report, server = await ring({}, markup_text=f"<Response>{CONNECT}</Response>")

    assert [each.path for each in server.received] == ["/status"]
    assert server.streams
    assert report.status == "completed"


async def test_a_webhook_that_comes_twice_should_get_one_answer() -> None:
    count = 0

    def answer(received: Received) -> Response:
        nonlocal count
        count += 1
        return markup(f"<Response><Say>{count}</Say></Response>")

    faults = Faults(wanted=frozenset({Fault.DUPLICATE_WEBHOOK}))
    async with bot_server(answer) as server, TwilioSimulator().open(Setup()) as twilio:
        ring_twice = Ring(webhook_url=f"{server.url}/inbound", caller=Caller([]), faults=faults)
        report = await twilio.ring(ring_twice)
        tokens = {each.headers["i-twilio-idempotency-token"] for each in server.received}

    assert len(server.received) == 2
    assert len(tokens) == 1
    assert [each.code for each in report.violations] == ["not-idempotent"]


async def test_a_lost_socket_of_the_carrier_ends_the_call() -> None:
    documents = {"/inbound": f"<Response>{CONNECT}<Redirect>/continue</Redirect></Response>"}
    faults = Faults(wanted=frozenset({Fault.DROP_SOCKET}), after_ms=60)
    report, server = await ring(documents, steps=Caller([]), faults=faults)

    assert report.hung_up_by is HungUpBy.CARRIER
    assert not server.of("/continue")


async def test_a_refused_stream_goes_on_with_the_document() -> None:
    documents = {
        "/inbound": f"<Response>{CONNECT}<Redirect>/continue</Redirect></Response>",
        "/continue": "<Response><Hangup/></Response>",
    }
    async with (
        bot_server(answering(documents)) as server,
        TwilioSimulator().open(Setup()) as twilio,
    ):
        server.refuse_upgrade = True
        report = await twilio.ring(Ring(webhook_url=f"{server.url}/inbound", caller=Caller([])))

    assert report.streams[0].refused_status == 403
    assert server.of("/continue")


async def test_the_stream_itself_is_reported_on() -> None:
    connect = '<Connect><Stream url="{ws}" name="bot" statusCallback="{http}/stream"/></Connect>'
    documents = {"/inbound": f"<Response>{connect}</Response>", "/stream": "<Response/>"}
    _, server = await ring(documents)

    events = [each.fields["StreamEvent"] for each in server.of("/stream")]
    assert events == ["stream-started", "stream-stopped"]


# outbound


async def place(twilio: TwilioService, **form: str) -> str:
    async with httpx.AsyncClient() as http:
        response = await http.post(
            f"{twilio.base_url}/2010-04-01/Accounts/{twilio.account_sid}/Calls.json",
            data={"To": "+14155550100", "From": "+15005550006", **form},
            auth=(twilio.account_sid, twilio.environment["TWILIO_AUTH_TOKEN"]),
        )
    return str(response.json()["sid"])


async def update(twilio: TwilioService, sid: str, **form: str) -> int:
    async with httpx.AsyncClient() as http:
        response = await http.post(
            f"{twilio.base_url}/2010-04-01/Accounts/{twilio.account_sid}/Calls/{sid}.json",
            data=form,
            auth=(twilio.account_sid, twilio.environment["TWILIO_AUTH_TOKEN"]),
        )
    return response.status_code


async def test_a_new_document_ends_the_stream_and_takes_its_place() -> None:
    documents = {
        "/answer": f"<Response>{CONNECT}</Response>",
        "/next": "<Response><Say>ok</Say></Response>",
    }
    async with (
        bot_server(answering(documents)) as server,
        TwilioSimulator().open(Setup()) as twilio,
    ):
        sid = await place(twilio, Url=f"{server.url}/answer")
        await eventually(lambda: server.streams and "start" in server.streams[0].events())
        assert await update(twilio, sid, Url=f"{server.url}/next") == 200
        report = await twilio.placed(sid)

    assert server.streams[0].events()[-1] == "stop"
    assert report.spoken == ("ok",)
    assert report.hung_up_by is HungUpBy.MARKUP


async def test_asynchronous_detection_reports_beside_the_call() -> None:
    documents = {"/amd": "<Response/>"}
    async with (
        bot_server(answering(documents)) as server,
        TwilioSimulator().open(Setup()) as twilio,
    ):
        twilio.callees["+14155550100"] = Callee(answered_by="machine_start", detection_s=0.01)
        sid = await place(
            twilio,
            Twiml=f"<Response>{CONNECT}</Response>".replace("{ws}", f"ws{server.url[4:]}/ws"),
            MachineDetection="Enable",
            AsyncAmd="true",
            AsyncAmdStatusCallback=f"{server.url}/amd",
        )
        await eventually(lambda: server.of("/amd") and server.streams)
        await update(twilio, sid, Status="completed")
        await twilio.placed(sid)
        call = twilio.book.find(sid)

    fields = server.of("/amd")[0].fields
    assert (fields["AnsweredBy"], fields["MachineDetectionDuration"]) == ("machine_start", "10")
    assert call is not None
    assert call.answered_by == "machine_start"


async def test_synchronous_detection_delays_the_document() -> None:
    documents = {"/answer": "<Response/>"}
    async with (
        bot_server(answering(documents)) as server,
        TwilioSimulator().open(Setup()) as twilio,
    ):
        sid = await place(twilio, Url=f"{server.url}/answer", MachineDetection="Enable")
        await twilio.placed(sid)

    assert server.of("/answer")[0].fields["AnsweredBy"] == "human"


async def test_a_callee_who_lets_it_ring_too_long_has_not_answered() -> None:
    async with TwilioSimulator().open(Setup()) as twilio:
        twilio.callees["+14155550100"] = Callee(ring_s=60)
        sid = await place(twilio, Twiml="<Response/>", Timeout="0.05")
        report = await twilio.placed(sid)

    assert report.status == "no-answer"


async def test_a_call_ends_at_its_time_limit() -> None:
    async with TwilioSimulator().open(Setup()) as twilio:
        twiml = "<Response><Pause length='60'/></Response>"
        sid = await place(twilio, Twiml=twiml, TimeLimit="0.1")
        report = await twilio.placed(sid)

    assert report.hung_up_by is HungUpBy.CARRIER
    assert 90 <= report.duration_ms < 5000


async def test_twenty_calls_at_once_keep_every_frame() -> None:
    documents = {"/inbound": f"<Response>{CONNECT}</Response>"}
    async with (
        bot_server(answering(documents)) as server,
        TwilioSimulator().open(Setup()) as twilio,
    ):
        rings = [
            Ring(
                webhook_url=f"{server.url}/inbound",
                caller=Caller([Pause(duration_ms=400), HangUp()]),
            )
            for _ in range(20)
        ]
        reports = await asyncio.gather(*(twilio.ring(each) for each in rings))

    sent = sum(stream.sent_frames for report in reports for stream in report.streams)
    came = sum(stream.events().count("media") for stream in server.streams)
    assert sent == came
    assert all(not report.violations for report in reports)
