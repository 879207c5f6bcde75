from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import httpx
import pytest
import stamina
import structlog
from twilio.http import HttpClient
from twilio.http.response import Response as SdkResponse
from twilio.rest import Client as SdkClient

from trunkline.carriers.twilio.account import TwilioAccount
from trunkline.carriers.twilio.rest import INLINE_MARKUP_CHARS, TwilioClient, new_client
from trunkline.errors import (
    CarrierBusy,
    CarrierError,
    CarrierRejected,
    CarrierTimeout,
    CarrierUnavailable,
    ConfigError,
)
from trunkline.telephony.call import CallEvent, Direction
from trunkline.telephony.carrier import AmdMode, DialOrder, StreamConnect
from trunkline.telephony.webhook import AmdVerdict, Document

CAPTURES = Path(__file__).parents[3] / "captures" / "twilio"
REST = {
    row["name"]: row for row in json.loads((CAPTURES / "rest.json").read_text(encoding="utf-8"))
}

ACCOUNT_SID = "AC00000000000000000000000000000001"
CALL_SID = "CA00000000000000000000000000000001"
TOKEN = "0123456789abcdef0123456789abcdef"
NUMBER = "+15005550006"
ACCOUNT = TwilioAccount.model_validate({"account_sid": ACCOUNT_SID, "auth_token": TOKEN})

Answer = Callable[[httpx.Request], httpx.Response]


class Twilio:
    """Answers requests, and keeps them."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self.answers: list[Answer] = []

    def answer(self, status: int, body: object = None, *, times: int = 1) -> None:
        self.answers += [lambda _: httpx.Response(status, json=body)] * times

    def answer_as_captured(self, name: str) -> None:
        self.answer(REST[name]["response"]["status"], REST[name]["response"]["json"])

    def fail(self, error: Exception, *, times: int = 1) -> None:
        def raise_it(_: httpx.Request) -> httpx.Response:
            raise error

        self.answers += [raise_it] * times

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return self.answers.pop(0)(request)


@pytest.fixture
def twilio() -> Iterator[Twilio]:
    peer = Twilio()
    yield peer
    assert peer.answers == [], "an answer was not asked for"


@pytest.fixture
async def http(twilio: Twilio) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.MockTransport(twilio)) as client:
        yield client


@pytest.fixture
def client(http: httpx.AsyncClient) -> TwilioClient:
    return TwilioClient(ACCOUNT, http)


@pytest.fixture(autouse=True)
def no_pauses_between_attempts() -> Iterator[None]:
    with stamina.set_testing(True, attempts=4, cap=True):
        yield


def order(**changes: Any) -> DialOrder:
    fields: dict[str, Any] = {
        "call_id": "c1",
        "to_number": "+14155550100",
        "from_number": NUMBER,
        "stream": StreamConnect(stream_url="wss://voice.example.test/ws/twilio/desk/t"),
        "answer": Document(content_type="application/xml", body="<Response>ü</Response>".encode()),
        "answer_url": "https://voice.example.test/telephony/twilio/answer/c1",
        "status_url": "https://voice.example.test/telephony/twilio/events/c1",
    }
    return DialOrder(**{**fields, **changes})


def form_of(request: httpx.Request) -> list[tuple[str, str]]:
    return parse_qsl(request.content.decode(), keep_blank_values=True)


def official_request(use: Callable[[SdkClient], object], reply: object) -> dict[str, Any]:
    """What the official SDK would have sent."""
    sent: dict[str, Any] = {}

    class Recorder(HttpClient):
        def request(self, method: str, url: str, **options: Any) -> SdkResponse:
            sent.update(options, method=method.upper(), url=url)
            return SdkResponse(200, json.dumps(reply))

    use(SdkClient(ACCOUNT_SID, TOKEN, http_client=Recorder(logging.getLogger(__name__), False)))
    return sent


def pairs(data: dict[str, Any] | None) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for name, value in (data or {}).items():
        values = value if isinstance(value, list) else [value]
        found.extend((name, str(item)) for item in values)
    return sorted(found)


def assert_same_request(ours: httpx.Request, official: dict[str, Any]) -> None:
    assert ours.method == official["method"]
    assert str(ours.url.copy_with(query=None)) == official["url"]
    assert sorted(form_of(ours)) == pairs(official.get("data"))
    assert sorted(ours.url.params.multi_items()) == pairs(official.get("params"))
    basic = base64.b64encode(":".join(official["auth"]).encode()).decode()
    assert ours.headers["authorization"] == f"Basic {basic}"


CALL_REPLY = REST["create_call"]["response"]["json"]
CALLS_REPLY = {"calls": [], "page": 0, "page_size": 50}


async def test_a_dial_with_everything_is_what_the_official_sdk_sends(
    twilio: Twilio, client: TwilioClient
) -> None:
    twilio.answer_as_captured("create_call")
    dial = order(amd=AmdMode.MESSAGE_END, ring_timeout_s=30, max_duration_s=600)

    placed = await client.place_call(dial)

    assert placed.carrier_call_id == CALL_SID
    assert placed.event is CallEvent.INITIATED
    assert placed.raw["from"] == NUMBER
    official = official_request(
        lambda sdk: sdk.calls.create(
            to=dial.to_number,
            from_=dial.from_number,
            twiml=dial.answer.body.decode(),
            status_callback=dial.status_url,
            status_callback_method="POST",
            status_callback_event=["initiated", "ringing", "answered", "completed"],
            timeout=30,
            time_limit=600,
            machine_detection="DetectMessageEnd",
            async_amd="true",
            async_amd_status_callback=dial.status_url,
            async_amd_status_callback_method="POST",
        ),
        CALL_REPLY,
    )
    assert_same_request(twilio.requests[0], official)


async def test_a_plain_dial(twilio: Twilio, client: TwilioClient) -> None:
    twilio.answer_as_captured("create_call")
    await client.place_call(order())
    names = [name for name, _ in form_of(twilio.requests[0])]
    assert names == [
        *("To", "From", "Twiml", "StatusCallback", "StatusCallbackMethod"),
        *["StatusCallbackEvent"] * 4,
        "Timeout",
    ]


async def test_amd_that_does_not_wait_for_the_message(twilio: Twilio, client: TwilioClient) -> None:
    twilio.answer_as_captured("create_call")
    await client.place_call(order(amd=AmdMode.DETECT))
    sent = dict(form_of(twilio.requests[0]))
    assert (sent["MachineDetection"], sent["AsyncAmd"]) == ("Enable", "true")


@pytest.mark.parametrize(("chars", "inline"), [(INLINE_MARKUP_CHARS, True), (4001, False)])
async def test_long_markup_is_fetched(
    twilio: Twilio, client: TwilioClient, chars: int, inline: bool
) -> None:
    twilio.answer_as_captured("create_call")
    body = ("ü" * chars).encode()
    dial = order(answer=Document(content_type="application/xml", body=body))
    await client.place_call(dial)
    sent = dict(form_of(twilio.requests[0]))
    if inline:
        assert sent["Twiml"] == "ü" * chars
        assert "Url" not in sent
    else:
        assert (sent["Url"], sent["Method"]) == (dial.answer_url, "POST")
        assert "Twiml" not in sent


async def test_hang_up_is_what_the_official_sdk_sends(twilio: Twilio, client: TwilioClient) -> None:
    twilio.answer_as_captured("hangup")
    await client.hang_up(CALL_SID)
    official = official_request(
        lambda sdk: sdk.calls(CALL_SID).update(status="completed"), CALL_REPLY
    )
    assert_same_request(twilio.requests[0], official)


@pytest.mark.parametrize("name", ["hangup_not_found", "redirect_not_in_progress"])
async def test_a_call_that_is_over_counts_as_hung_up(
    twilio: Twilio, client: TwilioClient, name: str
) -> None:
    twilio.answer_as_captured(name)
    await client.hang_up(CALL_SID)


async def test_a_hang_up_that_is_refused_is_told(twilio: Twilio, client: TwilioClient) -> None:
    twilio.answer_as_captured("auth_error")
    with pytest.raises(CarrierRejected) as caught:
        await client.hang_up(CALL_SID)
    assert (caught.value.status, caught.value.carrier_code) == (401, "20003")


async def test_fetch_call_is_what_the_official_sdk_sends(
    twilio: Twilio, client: TwilioClient
) -> None:
    twilio.answer_as_captured("hangup")
    call = await client.fetch_call(CALL_SID)
    assert call is not None
    assert (call.carrier_call_id, call.event) == (CALL_SID, CallEvent.COMPLETED)
    assert (call.direction, call.duration_s) == (Direction.OUTBOUND, 37)
    assert call.answered_by is AmdVerdict.HUMAN
    assert (call.from_number, call.to_number) == (NUMBER, "+14155550100")
    official = official_request(lambda sdk: sdk.calls(CALL_SID).fetch(), CALL_REPLY)
    assert_same_request(twilio.requests[0], official)


async def test_fields_that_may_be_missing(twilio: Twilio, client: TwilioClient) -> None:
    reply = {"sid": "CA1", "status": "hovering", "direction": "inbound", "answered_by": "cat"}
    twilio.answer(200, {**reply, "duration": None, "from": "", "to": None})
    call = await client.fetch_call("CA1")
    assert call is not None
    assert (call.event, call.carrier_word) == (CallEvent.UNKNOWN, "hovering")
    assert (call.direction, call.duration_s) == (Direction.INBOUND, None)
    assert (call.from_number, call.to_number) == ("anonymous", "")
    assert call.answered_by is AmdVerdict.UNKNOWN


async def test_an_unknown_call_is_none(twilio: Twilio, client: TwilioClient) -> None:
    twilio.answer_as_captured("hangup_not_found")
    assert await client.fetch_call(CALL_SID) is None


async def test_fetching_a_call_may_be_refused(twilio: Twilio, client: TwilioClient) -> None:
    twilio.answer_as_captured("auth_error")
    with pytest.raises(CarrierRejected):
        await client.fetch_call(CALL_SID)


async def test_a_sid_cannot_lead_to_another_resource(twilio: Twilio, client: TwilioClient) -> None:
    twilio.answer_as_captured("hangup_not_found")
    await client.fetch_call("../Messages?x=1#")
    raw_path = twilio.requests[0].url.raw_path.decode()
    assert raw_path.endswith(f"/Accounts/{ACCOUNT_SID}/Calls/..%2FMessages%3Fx%3D1%23.json")


async def test_open_calls_are_asked_for_as_the_official_sdk_does(
    twilio: Twilio, client: TwilioClient
) -> None:
    moving, other = {**CALL_REPLY, "status": "ringing"}, {**CALL_REPLY, "sid": "CA2"}
    twilio.answer(200, {"calls": [other]})
    twilio.answer(200, {"calls": [moving]})
    twilio.answer(200, {"calls": [{**moving, "status": "in-progress"}]})

    calls = await client.fetch_open_calls()

    assert {call.carrier_call_id: call.event for call in calls} == {
        "CA2": CallEvent.INITIATED,
        CALL_SID: CallEvent.ANSWERED,
    }
    for request, status in zip(twilio.requests, ("queued", "ringing", "in-progress"), strict=True):
        official = official_request(
            lambda sdk, status=status: sdk.calls.page(status=status, page_size=500), CALLS_REPLY
        )
        assert_same_request(request, official)


async def test_redirect_is_what_the_official_sdk_sends(
    twilio: Twilio, client: TwilioClient
) -> None:
    url = "https://voice.example.test/telephony/twilio/continue/c1"
    twilio.answer(200, CALL_REPLY)
    await client.redirect(CALL_SID, url)
    official = official_request(
        lambda sdk: sdk.calls(CALL_SID).update(url=url, method="POST"), CALL_REPLY
    )
    assert_same_request(twilio.requests[0], official)


async def test_redirecting_a_call_that_is_over_is_told(
    twilio: Twilio, client: TwilioClient
) -> None:
    twilio.answer_as_captured("redirect_not_in_progress")
    with pytest.raises(CarrierRejected) as caught:
        await client.redirect(CALL_SID, "https://voice.example.test/")
    assert caught.value.carrier_code == "21220"
    assert str(caught.value) == "twilio redirect: the call is not in progress (Twilio error 21220)"


async def test_fetch_number_takes_the_exact_one(twilio: Twilio, client: TwilioClient) -> None:
    number = {
        "sid": "PN1",
        "phone_number": NUMBER,
        "voice_url": "https://a/",
        "voice_method": "GET",
    }
    other = {**number, "sid": "PN0", "phone_number": NUMBER + "7"}
    twilio.answer(200, {"incoming_phone_numbers": [other, number]})

    found = await client.fetch_number(NUMBER)

    assert found is not None
    assert (found.number_id, found.voice_url, found.voice_method) == ("PN1", "https://a/", "GET")
    official = official_request(
        lambda sdk: sdk.incoming_phone_numbers.page(phone_number=NUMBER),
        {"incoming_phone_numbers": [], "page": 0},
    )
    assert_same_request(twilio.requests[0], official)


async def test_a_number_without_a_url_and_one_of_somebody_else(
    twilio: Twilio, client: TwilioClient
) -> None:
    number = {"sid": "PN1", "phone_number": NUMBER, "voice_url": ""}
    twilio.answer(200, {"incoming_phone_numbers": [number]}, times=2)
    found = await client.fetch_number(NUMBER)
    assert found is not None
    assert (found.voice_url, found.voice_method) == (None, None)
    assert await client.fetch_number("+14155550100") is None


async def test_check_credentials(twilio: Twilio, client: TwilioClient) -> None:
    twilio.answer(200, CALLS_REPLY)
    await client.check_credentials()
    twilio.answer_as_captured("auth_error")
    with pytest.raises(CarrierRejected, match="credentials are refused"):
        await client.check_credentials()


async def test_an_api_key_a_region_and_an_edge(twilio: Twilio, http: httpx.AsyncClient) -> None:
    account = TwilioAccount.model_validate(
        {
            "account_sid": ACCOUNT_SID,
            "api_key": "SK00000000000000000000000000000001",
            "api_secret": "secret",
            "region": "ie1",
            "edge": "dublin",
        }
    )
    twilio.answer(200, CALLS_REPLY)
    await new_client(account, http).check_credentials()
    request = twilio.requests[0]
    assert request.url.host == "api.dublin.ie1.twilio.com"
    assert request.url.path == f"/2010-04-01/Accounts/{ACCOUNT_SID}/Calls.json"
    basic = base64.b64encode(b"SK00000000000000000000000000000001:secret").decode()
    assert request.headers["authorization"] == f"Basic {basic}"


def test_a_client_needs_credentials() -> None:
    with pytest.raises(ConfigError):
        new_client(TwilioAccount(), httpx.AsyncClient())


# What may go wrong with one request: the failure, the error it becomes, and whether a dial that
# ended so may be repeated.
FAILURES = [
    (httpx.ConnectError("refused"), CarrierUnavailable, True),
    (httpx.ConnectTimeout("slow"), CarrierUnavailable, True),
    (httpx.PoolTimeout("full"), CarrierUnavailable, True),
    (httpx.ReadTimeout("slow"), CarrierTimeout, False),
    (httpx.WriteTimeout("slow"), CarrierTimeout, False),
    (httpx.ReadError("reset"), CarrierUnavailable, False),
    (httpx.RemoteProtocolError("no answer"), CarrierUnavailable, False),
]
STATUSES = [
    (429, CarrierBusy, True),
    (500, CarrierUnavailable, False),
    (503, CarrierUnavailable, False),
    (301, CarrierRejected, False),
    (400, CarrierRejected, False),
    (404, CarrierRejected, False),
]


@pytest.mark.parametrize(("failure", "expected", "retryable"), FAILURES, ids=repr)
async def test_a_dial_is_sent_once(
    twilio: Twilio,
    client: TwilioClient,
    failure: Exception,
    expected: type[CarrierError],
    retryable: bool,
) -> None:
    twilio.fail(failure)
    with pytest.raises(expected) as caught:
        await client.place_call(order())
    assert type(caught.value) is expected
    assert caught.value.retryable is retryable
    assert caught.value.operation == "place call"
    assert len(twilio.requests) == 1


@pytest.mark.parametrize(("status", "expected", "retryable"), STATUSES)
async def test_a_dial_that_is_answered_with_an_error(
    twilio: Twilio,
    client: TwilioClient,
    status: int,
    expected: type[CarrierError],
    retryable: bool,
) -> None:
    twilio.answer(status, {"code": None})
    with pytest.raises(expected) as caught:
        await client.place_call(order())
    assert type(caught.value) is expected
    assert caught.value.retryable is retryable
    assert len(twilio.requests) == 1


@pytest.mark.parametrize(("failure", "expected", "_"), FAILURES, ids=repr)
async def test_reading_and_hanging_up_are_repeated(
    twilio: Twilio, client: TwilioClient, failure: Exception, expected: object, _: object
) -> None:
    twilio.fail(failure, times=3)
    twilio.answer_as_captured("hangup")
    assert await client.fetch_call(CALL_SID) is not None
    twilio.fail(failure)
    twilio.answer(503)
    twilio.answer_as_captured("rate_limited")
    twilio.answer_as_captured("hangup")
    await client.hang_up(CALL_SID)


async def test_repeating_ends(twilio: Twilio, client: TwilioClient) -> None:
    twilio.answer(503, times=4)
    with pytest.raises(CarrierUnavailable) as caught:
        await client.hang_up(CALL_SID)
    assert caught.value.retryable
    assert len(twilio.requests) == 4


async def test_repeating_logs_no_number(twilio: Twilio, client: TwilioClient) -> None:
    twilio.answer(503)
    twilio.answer(200, {"incoming_phone_numbers": []})
    with structlog.testing.capture_logs() as logs:
        await client.fetch_number(NUMBER)
    assert logs
    assert NUMBER not in repr(logs)


async def test_a_refusal_is_not_repeated(twilio: Twilio, client: TwilioClient) -> None:
    twilio.answer_as_captured("auth_error")
    with pytest.raises(CarrierRejected):
        await client.fetch_open_calls()


async def test_a_redirect_is_sent_once(twilio: Twilio, client: TwilioClient) -> None:
    twilio.answer(503)
    with pytest.raises(CarrierUnavailable):
        await client.redirect(CALL_SID, "https://voice.example.test/")


async def test_twilios_sentences_with_numbers_are_not_passed_on(
    twilio: Twilio, client: TwilioClient
) -> None:
    twilio.answer(400, {"code": 21211, "message": "The number +14155550100 is not valid."})
    with pytest.raises(CarrierRejected) as caught:
        await client.place_call(order())
    assert "+1415" not in f"{caught.value} {caught.value.details}"
    assert caught.value.details["carrier_code"] == "21211"
    assert str(caught.value) == (
        "twilio place call: the number to call is not valid (Twilio error 21211)"
    )


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"code":[]}'])
async def test_a_refusal_in_another_language(
    twilio: Twilio, client: TwilioClient, body: bytes
) -> None:
    twilio.answers.append(lambda _: httpx.Response(403, content=body))
    with pytest.raises(CarrierRejected) as caught:
        await client.place_call(order())
    assert (caught.value.status, caught.value.carrier_code) == (403, "")
    assert str(caught.value) == "twilio place call: the request is refused (HTTP 403)"


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b'{"sid":"","status":"queued"}'])
async def test_a_dial_with_an_answer_that_cannot_be_read_may_have_dialled(
    twilio: Twilio, client: TwilioClient, body: bytes
) -> None:
    twilio.answers.append(lambda _: httpx.Response(201, content=body))
    with pytest.raises(CarrierUnavailable) as caught:
        await client.place_call(order())
    assert not caught.value.retryable


async def test_an_answer_that_cannot_be_read_is_not_shown(
    twilio: Twilio, client: TwilioClient
) -> None:
    twilio.answer(201, {"sid": 7, "from": NUMBER, "status": NUMBER})
    with pytest.raises(CarrierUnavailable) as caught:
        await client.place_call(order())
    assert NUMBER not in f"{caught.value} {caught.value.__cause__}"


async def test_a_peer_that_never_ends_its_answer() -> None:
    async def never(_: httpx.Request) -> httpx.Response:
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    async with httpx.AsyncClient(transport=httpx.MockTransport(never)) as http:
        client = TwilioClient(ACCOUNT, http, request_timeout_s=0.01)
        with pytest.raises(CarrierTimeout):
            await client.place_call(order())
        with pytest.raises(CarrierTimeout):
            await client.check_credentials()


async def test_redirections_are_not_followed_with_our_credentials(
    twilio: Twilio, client: TwilioClient
) -> None:
    twilio.answers.append(
        lambda _: httpx.Response(302, headers={"location": "https://evil.example/"})
    )
    with pytest.raises(CarrierRejected):
        await client.fetch_call(CALL_SID)
    assert [request.url.host for request in twilio.requests] == ["api.twilio.com"]
