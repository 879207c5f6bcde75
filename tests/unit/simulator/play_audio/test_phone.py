from __future__ import annotations

import base64
import json

import pytest
from starlette.responses import Response

from tests.support.bot_server import Received, Stream, bot_server, markup, read_to_the_end
from tests.support.play_audio import (
    SPEECH,
    account_of,
    as_webhook,
    connecting,
    opened,
    ring_with,
    say,
    stream_id,
)
from trunkline import carriers
from trunkline.errors import SignatureError
from trunkline.simulator.callee import Callee, Outcome
from trunkline.simulator.caller import Caller, HangUp, Pause, Press
from trunkline.simulator.contract import HungUpBy, Ring
from trunkline.simulator.faults import Fault, Faults
from trunkline.telephony.carrier import StreamConnect
from trunkline.telephony.webhook import UpgradeRequest

NAMES = ("plivo", "vobiz")


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_a_whole_call_rings_talks_and_ends(name: str) -> None:
    """Our own webhook check, core and markup against the simulator's side."""
    carrier = carriers.get(name)

    async def talk(stream: Stream) -> None:
        await stream.receive_until("start")
        core = carrier.require_stream()
        for message in stream.messages:
            core.receive_message(json.dumps(message), 0)
        core.send_audio(SPEECH)
        core.send_mark("end")
        for message in core.messages_to_send():
            await stream.socket.send_text(str(message))
        await stream.receive_until("playedStream")

    def answer(received: Received) -> object:
        if received.path == "/inbound":
            connect = StreamConnect(
                stream_url=f"{server.url.replace('http', 'ws')}/ws",
                parameters={"agent_name": "front-desk"},
                continue_url=f"{server.url}/continue",
                stream_status_url=f"{server.url}/events",
            )
            body = carrier.require_markup().connect(connect).body.decode()
            return markup(body)
        if received.path == "/continue":
            return markup(carrier.require_markup().hangup().body.decode())
        return markup(carrier.require_markup().accept_event().body.decode())

    async with bot_server(answer, talk) as server, opened(name) as service:
        ring = Ring(
            webhook_url=f"{server.url}/inbound?x=1&a=%20",
            caller=Caller([]),
            status_url=f"{server.url}/hangup",
        )
        report = await service.ring(ring)
        _, account = account_of(service)

    assert (report.status, report.hung_up_by) == ("completed", HungUpBy.MARKUP)
    assert report.violations == ()
    assert report.counts.played_bytes == report.counts.received_bytes == len(SPEECH)
    assert [each.kind for each in report.webhooks] == [
        *("inbound", "stream", "stream", "redirect", "hangup"),
    ]
    webhook = carrier.require_webhook()
    for received in server.received:
        request = as_webhook(received, server.url)
        webhook.verify(request, account)
        assert webhook.account_id(request) == account.account_id
    incoming = webhook.parse_incoming(as_webhook(server.received[0], server.url))
    assert (incoming.from_number, incoming.to_number) == ("+14155550100", "+15005550006")
    (stream,) = report.streams
    assert stream.parameters == {"agent_name": "front-desk"}
    if carrier.verify_upgrade is not None:
        upgrade = UpgradeRequest(url=stream.url, headers=list(server.streams[0].headers.items()))
        carrier.verify_upgrade(upgrade, account)


async def test_a_caller_who_hangs_up_closes_the_socket_without_a_word(name: str) -> None:
    report, server = await ring_with(
        name, read_to_the_end, Caller([Pause(duration_ms=100), HangUp()])
    )
    assert report.hung_up_by is HungUpBy.CALLER
    events = server.streams[0].events()
    assert events[0] == "start"
    assert set(events[1:]) == {"media"}
    # Who has no hang-up URL of its own hears of the end at its answer URL, at one of the two.
    kinds = [each.kind for each in report.webhooks]
    assert kinds == (["inbound", "hangup"] if name == "vobiz" else ["inbound"])


async def test_a_clear_is_confirmed_and_voids_marks(name: str) -> None:
    async def talk(stream: Stream) -> None:
        await stream.receive_until("start")
        await say(stream, SPEECH * 10)
        await stream.send({"event": "checkpoint", "streamId": stream_id(stream), "name": "a"})
        await stream.send({"event": "clearAudio", "streamId": stream_id(stream)})
        await stream.receive_until("clearedAudio")
        await say(stream, SPEECH)
        await stream.send({"event": "checkpoint", "streamId": stream_id(stream), "name": "b"})
        await stream.receive_until("playedStream")

    report, server = await ring_with(name, talk, Caller([]))
    names = [each["name"] for each in server.streams[0].messages if each["event"] == "playedStream"]
    assert names == ["b"]
    assert report.counts.clears == 1
    assert report.counts.cleared_bytes > 0
    assert report.violations == () or report.violations[-1].code == "long_message"


async def test_keys_are_events_or_tones(name: str) -> None:
    pause = Pause(duration_ms=400)
    caller = Caller([pause, Press(digit="5"), pause, HangUp()])
    _, server = await ring_with(name, read_to_the_end, caller)
    stream = server.streams[0]
    keys = [each["dtmf"]["digit"] for each in stream.messages if each["event"] == "dtmf"]
    payloads = [
        base64.b64decode(each["media"]["payload"])
        for each in stream.messages
        if each["event"] == "media"
    ]
    loud = [payload for payload in payloads if set(payload) != {0xFF}]
    if name == "plivo":
        assert (keys, loud) == (["5"], [])
    else:
        assert keys == []
        assert 4 <= len(loud) <= 6  # 100 ms of tone in frames of 20 ms


async def test_what_a_server_may_do_beside_talking(name: str) -> None:
    """Press keys on the one, end the stream by a message on the other."""

    async def talk(stream: Stream) -> None:
        await stream.receive_until("start")
        if name == "plivo":
            await stream.send({"event": "sendDTMF", "dtmf": "12#"})
        else:
            await stream.send({"event": "stop", "streamId": stream_id(stream)})
            await read_to_the_end(stream)

    report, _ = await ring_with(name, talk, Caller([]))
    assert report.hung_up_by is HungUpBy.MARKUP
    assert report.violations == ()


async def test_faults_of_the_line(name: str) -> None:
    report, server = await ring_with(
        name,
        read_to_the_end,
        Caller([Pause(duration_ms=200), HangUp()]),
        Fault.GARBAGE_FRAMES,
        Fault.DUPLICATE_WEBHOOK,
    )
    assert report.violations == ()
    assert len(server.of("/inbound")) >= 2
    assert any(isinstance(raw, bytes) for raw in server.streams[0].raw)
    report, _ = await ring_with(name, read_to_the_end, Caller([]), Fault.DROP_SOCKET)
    assert (report.hung_up_by, report.streams[0].ended_by) == (HungUpBy.CARRIER, "fault")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"bidirectional": "false"}, "bidirectional"),
        ({"keepCallAlive": "false"}, "4010"),
        ({"audioTrack": "both"}, "audioTrack"),
        ({"contentType": "audio/x-l16;rate=24000"}, "contentType"),
    ],
)
async def test_streams_that_never_work(name: str, changes: dict[str, str], code: str) -> None:
    def answer(_: Received) -> object:
        return markup(connecting(server.url, **changes))

    async with bot_server(answer) as server, opened(name) as service:
        report = await service.ring(Ring(webhook_url=f"{server.url}/in", caller=Caller([])))
    assert [each.code for each in report.violations] == [code]
    assert report.streams == ()


@pytest.mark.parametrize(
    ("document", "status", "hung_up_by"),
    [
        ('<Response><Hangup reason="busy"/></Response>', "busy", HungUpBy.MARKUP),
        ("<Response><Hangup/></Response>", "completed", HungUpBy.MARKUP),
        ("<Response/>", "completed", HungUpBy.MARKUP),
        ("<Response><Speak>No.</Speak></Response>", "completed", HungUpBy.MARKUP),
        ("not xml", "completed", HungUpBy.CARRIER),
        ("<Answer/>", "completed", HungUpBy.CARRIER),
    ],
)
async def test_documents(name: str, document: str, status: str, hung_up_by: HungUpBy) -> None:
    async with bot_server(lambda _: markup(document)) as server, opened(name) as service:
        report = await service.ring(Ring(webhook_url=f"{server.url}/in", caller=Caller([])))
    assert (report.status, report.hung_up_by) == (status, hung_up_by)
    assert [each.code for each in report.violations] == (
        ["8011"] if hung_up_by is HungUpBy.CARRIER else []
    )


async def test_a_server_that_refuses_or_leads_in_a_circle(name: str) -> None:
    def circle(_: Received) -> object:
        return markup(f"<Response><Redirect>{server.url}/in</Redirect></Response>")

    async with bot_server(circle) as server, opened(name) as service:
        report = await service.ring(Ring(webhook_url=f"{server.url}/in", caller=Caller([])))
        assert [each.code for each in report.violations] == ["8011"]
        server.answer = lambda _: Response(status_code=403)
        report = await service.ring(Ring(webhook_url=f"{server.url}/in", caller=Caller([])))
        assert [each.code for each in report.violations] == ["7011"]
    assert report.hung_up_by is HungUpBy.CARRIER


async def test_a_forwarded_call(name: str) -> None:
    number = "13125550199"
    document = (
        f'<Response><Dial timeout="1" action="ACTION"><Number>{number}</Number></Dial></Response>'
    )

    def answer(received: Received) -> object:
        if received.path == "/action":
            return markup("<Response><Hangup/></Response>")
        return markup(document.replace("ACTION", f"{server.url}/action"))

    async with bot_server(answer) as server, opened(name) as service:
        service.callees[number] = Callee(ring_s=0.01, outcome=Outcome.BUSY)
        report = await service.ring(Ring(webhook_url=f"{server.url}/in", caller=Caller([])))
    assert report.forwarded_to == (number,)
    assert server.of("/action")[0].fields["DialStatus"] == "busy"


async def test_a_static_document_in_place_of_the_webhook(name: str) -> None:
    async with opened(name) as service:
        ring = Ring(
            webhook_url="https://voice.example.test/in",
            caller=Caller([]),
            markup='<Response><Hangup reason="rejected"/></Response>',
        )
        report = await service.ring(ring)
    assert (report.status, report.webhooks) == ("busy", [])
    assert service.calls[report.carrier_call_id].cause == ("3020", "Rejected")


async def test_a_buffer_has_an_end_on_one_of_them(name: str) -> None:
    async def talk(stream: Stream) -> None:
        await stream.receive_until("start")
        for _ in range(41):
            await say(stream, bytes(8000))
        await stream.receive_until("media")
        await stream.receive_until("media")

    report, _ = await ring_with(name, talk, Caller([]))
    codes = {each.code for each in report.violations}
    assert codes == ({"buffer_overflow"} if name == "plivo" else set())
    assert report.counts.unplayed_bytes > 300_000


@pytest.mark.parametrize(
    ("callee", "expected"),
    [
        (Callee(ring_s=0.01, talk_s=0.01), "completed"),
        (Callee(ring_s=5), "timeout"),
        (Callee(ring_s=0.01, outcome=Outcome.FAILED), "failed"),
    ],
)
async def test_how_a_forwarded_call_ends(name: str, callee: Callee, expected: str) -> None:
    def answer(received: Received) -> Response:
        if received.path == "/action":
            return markup("<Response/>")
        action = f'action="{server.url}/action"'
        return markup(
            f'<Response><Dial timeout="0.1" {action}><Number>1312</Number></Dial></Response>'
        )

    async with bot_server(answer) as server, opened(name) as service:
        service.callees["1312"] = callee
        await service.ring(Ring(webhook_url=f"{server.url}/in", caller=Caller([])))
    assert server.of("/action")[0].fields["DialStatus"] == expected


async def test_a_dial_that_leads_nowhere_goes_on(name: str) -> None:
    document = "<Response><Dial><Number>1312</Number></Dial><Speak>Sorry.</Speak></Response>"
    async with bot_server(lambda _: markup(document)) as server, opened(name) as service:
        service.callees["1312"] = Callee(ring_s=0, outcome=Outcome.BUSY)
        report = await service.ring(Ring(webhook_url=f"{server.url}/in", caller=Caller([])))
    assert (report.spoken, report.forwarded_to) == (("Sorry.",), ("1312",))


async def test_a_redirect_that_fails_ends_the_call(name: str) -> None:
    def answer(received: Received) -> Response:
        if received.path == "/gone":
            return Response(status_code=404)
        return markup(
            f"<Response><Redirect>{server.url}/gone</Redirect><Speak>x</Speak></Response>"
        )

    async with bot_server(answer) as server, opened(name) as service:
        report = await service.ring(Ring(webhook_url=f"{server.url}/in", caller=Caller([])))
    assert (report.hung_up_by, report.spoken) == (HungUpBy.CARRIER, ())


async def test_callbacks_may_come_twice(name: str) -> None:
    def answer(received: Received) -> Response:
        return markup("<Response><Hangup/></Response>")

    async with bot_server(answer) as server, opened(name) as service:
        await service.ring(
            Ring(
                webhook_url=f"{server.url}/in",
                caller=Caller([]),
                status_url=f"{server.url}/events",
                faults=Faults(wanted=frozenset({Fault.DUPLICATE_CALLBACKS})),
            )
        )
    first, second = server.of("/events")
    assert first.fields == second.fields
    nonce = f"x-{name}-signature-v3-nonce"
    assert first.headers[nonce] != second.headers[nonce]


async def test_another_document_for_the_same_webhook_is_a_violation(name: str) -> None:
    def answer(_: Received) -> Response:
        return markup(f"<Response><Speak>{len(server.received)}</Speak></Response>")

    async with bot_server(answer) as server, opened(name) as service:
        report = await service.ring(
            Ring(
                webhook_url=f"{server.url}/in",
                caller=Caller([]),
                faults=Faults(wanted=frozenset({Fault.DUPLICATE_WEBHOOK})),
            )
        )
    assert [each.code for each in report.violations] == ["not-idempotent"]


@pytest.mark.parametrize("fault", [Fault.BAD_SIGNATURE, Fault.BAD_UPGRADE_SIGNATURE])
async def test_wrong_signatures_on_request(name: str, fault: Fault) -> None:
    caller = Caller([Pause(duration_ms=100), HangUp()])
    async with opened(name) as service:
        carrier, account = account_of(service)

        def answer(_: Received) -> Response:
            return markup(connecting(server.url))

        async with bot_server(answer) as server:
            faults = Faults(wanted=frozenset({fault}))
            await service.ring(Ring(webhook_url=f"{server.url}/in", caller=caller, faults=faults))
    request = as_webhook(server.received[0], server.url)
    if fault is Fault.BAD_SIGNATURE:
        with pytest.raises(SignatureError):
            carrier.require_webhook().verify(request, account)
    elif carrier.verify_upgrade is not None:
        url = f"{server.url.replace('http', 'ws')}/ws"
        headers = list(server.streams[0].headers.items())
        with pytest.raises(SignatureError):
            carrier.verify_upgrade(UpgradeRequest(url=url, headers=headers), account)
