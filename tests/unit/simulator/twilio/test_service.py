from __future__ import annotations

import base64
import json
import socket

import httpx
import pytest
from pydantic import SecretStr

from tests.support.bot_server import Received, Stream, bot_server, markup
from trunkline.audio import encode, tone
from trunkline.carriers.twilio.account import TwilioAccount
from trunkline.errors import ConfigError
from trunkline.simulator.caller import Caller, HangUp
from trunkline.simulator.contract import Ring, Setup
from trunkline.simulator.twilio.service import TwilioSimulator
from trunkline.simulator.twilio.stream import MEDIA_FORMAT
from trunkline.telephony.carrier import DialOrder, StreamConnect
from trunkline.telephony.webhook import Document

SPEECH = encode(tone(440, 200, 8000), MEDIA_FORMAT)
ACCOUNT = TwilioAccount(
    account_sid="AC" + "1" * 32, auth_token=SecretStr("t" * 32), phone_number="+15005550007"
)


async def test_the_environment_makes_a_server_take_it_for_twilio() -> None:
    async with TwilioSimulator().open(Setup()) as twilio:
        environment = twilio.environment

    assert environment["TWILIO_API_BASE"] == twilio.base_url
    fields = {name.removeprefix("TWILIO_").lower(): value for name, value in environment.items()}
    account = TwilioAccount.model_validate(fields)
    assert account.missing() == []
    assert account.phone_number == twilio.numbers[0].phone_number


async def test_credentials_that_are_given_are_used() -> None:
    async with TwilioSimulator().open(Setup(account=ACCOUNT)) as twilio:
        assert twilio.account_sid == ACCOUNT.account_sid
        assert twilio.environment["TWILIO_AUTH_TOKEN"] == "t" * 32
        assert twilio.numbers[0].phone_number == "+15005550007"


async def test_without_the_token_that_signs_it_does_not_start() -> None:
    with pytest.raises(ConfigError, match="TWILIO_AUTH_TOKEN"):
        async with TwilioSimulator().open(
            Setup(account=TwilioAccount(account_sid="AC" + "1" * 32))
        ):
            pass


async def test_a_port_that_is_taken_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        setup = Setup(rest_port=taken.getsockname()[1])
        with pytest.raises(OSError, match="in use"):
            async with TwilioSimulator().open(setup):
                pass


async def test_an_error_of_the_guest_comes_out_unwrapped() -> None:
    with pytest.raises(ZeroDivisionError):
        async with TwilioSimulator().open(Setup()):
            _ = 1 // 0


async def test_a_call_that_is_still_up_is_dropped_at_the_end() -> None:
    async def answer(_: Received) -> httpx.Response:
        raise AssertionError("no webhook is expected")

    async with TwilioSimulator().open(Setup()) as twilio:
        async with httpx.AsyncClient() as http:
            response = await http.post(
                f"{twilio.base_url}/2010-04-01/Accounts/{twilio.account_sid}/Calls.json",
                data={"To": "+14155550100", "From": "+15005550006", "Twiml": "<Response/>"},
                auth=(twilio.account_sid, twilio.environment["TWILIO_AUTH_TOKEN"]),
            )
        assert response.status_code == 201
    # Leaving the context did not wait for anybody.


async def test_a_whole_call_rings_talks_and_ends() -> None:
    async def talk(stream: Stream) -> None:
        await stream.receive_until("start")
        payload = base64.b64encode(SPEECH).decode()
        media = {"event": "media", "streamSid": stream.stream_id, "media": {"payload": payload}}
        await stream.send(media)
        mark = {"event": "mark", "streamSid": stream.stream_id, "mark": {"name": "end"}}
        await stream.send(mark)
        await stream.receive_until("mark")

    def answer(received: Received) -> object:
        if received.path == "/inbound":
            stream = f'<Stream url="{server.url.replace("http", "ws")}/ws"/>'
            return markup(
                f"<Response><Connect>{stream}</Connect><Redirect>/go</Redirect></Response>"
            )
        return markup("<Response><Hangup/></Response>")

    async with bot_server(answer, talk) as server, TwilioSimulator().open(Setup()) as twilio:
        ring = Ring(webhook_url=f"{server.url}/inbound", caller=Caller([]))
        report = await twilio.ring(ring)
        call = twilio.book.find(report.carrier_call_id)

    assert (report.status, report.hung_up_by.value) == ("completed", "markup")
    assert report.counts.played_bytes == report.counts.received_bytes == len(SPEECH)
    assert report.violations == ()
    assert [each.kind for each in report.webhooks] == ["inbound", "redirect"]
    assert call is not None
    assert (call.status, call.direction) == ("completed", "inbound")
    sent = sum(stream.sent_frames for stream in report.streams)
    media = [event for event in server.streams[0].events() if event == "media"]
    assert 0 <= sent - len(media) <= 3


async def test_trunklines_own_client_dials_and_hangs_up() -> None:
    from trunkline.carriers.twilio.rest import new_client

    def accept(_: Received) -> object:
        return markup("<Response/>")

    async with bot_server(accept) as server, TwilioSimulator().open(Setup()) as twilio:
        fields = {
            name.removeprefix("TWILIO_").lower(): value
            for name, value in twilio.environment.items()
        }
        async with httpx.AsyncClient() as http:
            client = new_client(TwilioAccount.model_validate(fields), http)
            await client.check_credentials()
            stream = f'<Stream url="{server.url.replace("http", "ws")}/ws"/>'
            document = f"<Response><Connect>{stream}</Connect></Response>"
            placed = await client.place_call(
                DialOrder(
                    call_id="1",
                    to_number="+14155550100",
                    from_number="+15005550006",
                    stream=StreamConnect(stream_url="wss://x"),
                    answer=Document(content_type="application/xml", body=document.encode()),
                    answer_url=f"{server.url}/answer",
                    status_url=f"{server.url}/events",
                )
            )
            while not server.streams:
                await client.fetch_call(placed.carrier_call_id)
            await client.hang_up(placed.carrier_call_id)
            report = await twilio.placed(placed.carrier_call_id)
            await client.hang_up(placed.carrier_call_id)  # already over: success
            number = await client.fetch_number("+15005550006")
            assert number is not None
            assert await client.fetch_open_calls() == []

    assert (report.status, report.hung_up_by.value) == ("completed", "rest")
    statuses = [
        (each.fields["SequenceNumber"], each.fields["CallStatus"]) for each in server.of("/events")
    ]
    assert statuses == [
        ("0", "initiated"),
        ("1", "ringing"),
        ("2", "in-progress"),
        ("3", "completed"),
    ]
    assert server.streams[0].events()[-1] == "stop"


async def test_who_is_called_may_be_somebody_who_hangs_up() -> None:
    from trunkline.simulator.callee import Callee

    def accept(_: Received) -> object:
        return markup("<Response/>")

    async with bot_server(accept) as server, TwilioSimulator().open(Setup()) as twilio:
        twilio.callees["+14155550100"] = Callee(new_caller=lambda: Caller([HangUp()]))
        stream = f'<Stream url="{server.url.replace("http", "ws")}/ws"/>'
        form = {
            "To": "+14155550100",
            "From": "+15005550006",
            "Twiml": f"<Response><Connect>{stream}</Connect></Response>",
        }
        async with httpx.AsyncClient() as http:
            response = await http.post(
                f"{twilio.base_url}/2010-04-01/Accounts/{twilio.account_sid}/Calls.json",
                data=form,
                auth=(twilio.account_sid, twilio.environment["TWILIO_AUTH_TOKEN"]),
            )
        report = await twilio.placed(json.loads(response.text)["sid"])

    assert report.hung_up_by.value == "caller"
