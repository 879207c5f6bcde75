from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import httpx
import pytest
import stamina

from trunkline.carriers.exotel.account import ExotelAccount
from trunkline.carriers.exotel.rest import ExotelClient, new_client
from trunkline.carriers.exotel.webhook import sign_status_url
from trunkline.carriers.twilio.account import TwilioAccount
from trunkline.errors import (
    CarrierBusy,
    CarrierRejected,
    CarrierTimeout,
    CarrierUnavailable,
    ConfigError,
    UnsupportedByCarrier,
)
from trunkline.telephony.call import CallEvent, Direction
from trunkline.telephony.carrier import AmdMode, DialOrder, StreamConnect
from trunkline.telephony.webhook import Document

CAPTURES = Path(__file__).parents[3] / "captures" / "exotel"


def capture(name: str) -> Any:
    return json.loads((CAPTURES / name).read_text(encoding="utf-8"))


CALL_SID = "1f3a5c7e9b2d4f60a8c1e3f5b7d91a2b"
KEYS = {"account_sid": "exampleacct1", "api_key": "key", "api_token": "token"}
ACCOUNT = ExotelAccount.model_validate(KEYS)
ROOT = "https://api.in.exotel.com/v1/Accounts/exampleacct1"
STREAM_URL = "wss://voice.example.com/ws/exotel/t_9f2c"

Answer = Callable[[httpx.Request], httpx.Response]


class Exotel:
    """Answers requests, and keeps them."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self.answers: list[Answer] = []

    def answer(self, status: int, body: object = None, *, times: int = 1) -> None:
        self.answers += [lambda _: httpx.Response(status, json=body)] * times

    def fail(self, error: Exception, *, times: int = 1) -> None:
        def raise_it(_: httpx.Request) -> httpx.Response:
            raise error

        self.answers += [raise_it] * times

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return self.answers.pop(0)(request)


@pytest.fixture
def exotel() -> Iterator[Exotel]:
    peer = Exotel()
    yield peer
    assert peer.answers == [], "an answer was not asked for"


@pytest.fixture
async def http(exotel: Exotel) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.MockTransport(exotel)) as client:
        yield client


@pytest.fixture
def client(http: httpx.AsyncClient) -> ExotelClient:
    return ExotelClient(ACCOUNT, http)


@pytest.fixture(autouse=True)
def no_pauses_between_attempts() -> Iterator[None]:
    with stamina.set_testing(True, attempts=4, cap=True):
        yield


def order(**changes: Any) -> DialOrder:
    fields: dict[str, Any] = {
        "call_id": "run_42",
        "to_number": "+919876543210",
        "from_number": "+918047091234",
        "stream": StreamConnect(stream_url=STREAM_URL),
        "answer": Document(content_type="application/xml", body=b"<Response/>"),
        "answer_url": "https://voice.example.com/telephony/exotel/answer/run_42",
        "status_url": "https://voice.example.com/telephony/exotel/events/run_42",
        "ring_timeout_s": 40,
    }
    return DialOrder(**{**fields, **changes})


def form_of(request: httpx.Request) -> dict[str, str]:
    return dict(parse_qsl(request.content.decode(), keep_blank_values=True))


def call_reply(**changes: object) -> dict[str, Any]:
    reply = capture("connect_response.json")["body"]
    return {"Call": {**reply["Call"], **changes}}


async def test_a_dial_by_connect_voice_ai(exotel: Exotel, client: ExotelClient) -> None:
    exotel.answer(200, capture("connect_response.json")["body"])

    placed = await client.place_call(order(max_duration_s=3600))

    assert placed.carrier_call_id == CALL_SID
    assert placed.event is CallEvent.INITIATED  # though the reply says in-progress
    assert placed.raw["PhoneNumberSid"] == "08047091234"
    (request,) = exotel.requests
    assert (request.method, str(request.url)) == ("POST", f"{ROOT}/Calls/connect.json")
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"
    basic = base64.b64encode(b"key:token").decode()
    assert request.headers["authorization"] == f"Basic {basic}"
    sent, captured = form_of(request), dict(capture("connect_voice_ai_request.json")["form"])
    # The capture asks for fewer events, and names its own callback.
    for name in ("StatusCallback", "StatusCallbackEvents[0]", "StatusCallbackEvents[1]", "Record"):
        captured.pop(name)
    assert captured.items() <= sent.items()
    assert sent["StatusCallback"] == sign_status_url(order().status_url, ACCOUNT)
    events = [sent[f"StatusCallbackEvents[{number}]"] for number in range(3)]
    assert events == ["ringing", "answered", "terminal"]


async def test_a_dial_through_a_flow(exotel: Exotel, http: httpx.AsyncClient) -> None:
    exotel.answer(200, call_reply())
    account = ExotelAccount.model_validate({**KEYS, "flow_id": "654321"})

    await ExotelClient(account, http).place_call(order())

    sent = form_of(exotel.requests[0])
    assert dict(capture("connect_flow_request.json")["form"]).items() <= sent.items()
    assert "StreamUrl" not in sent
    assert "TimeLimit" not in sent


@pytest.mark.parametrize(("rate_hz", "query"), [("8000", ""), ("16000", "?sample-rate=16000")])
async def test_the_sample_rate_of_a_dial(
    exotel: Exotel, http: httpx.AsyncClient, rate_hz: str, query: str
) -> None:
    exotel.answer(200, call_reply())
    account = ExotelAccount.model_validate({**KEYS, "sample_rate_hz": rate_hz})
    await ExotelClient(account, http).place_call(order())
    assert form_of(exotel.requests[0])["StreamUrl"] == STREAM_URL + query


@pytest.mark.parametrize(
    ("number", "written"),
    [
        ("+919876543210", "09876543210"),
        ("+9118001234", "+9118001234"),
        ("+14155550100", "+14155550100"),
        ("+6561234567", "+6561234567"),
    ],
)
async def test_indian_numbers_are_written_as_at_home(
    exotel: Exotel, client: ExotelClient, number: str, written: str
) -> None:
    exotel.answer(200, call_reply())
    await client.place_call(order(to_number=number))
    assert form_of(exotel.requests[0])["From"] == written


async def test_a_call_cannot_be_longer_than_exotel_allows(
    exotel: Exotel, client: ExotelClient
) -> None:
    exotel.answer(200, call_reply())
    await client.place_call(order(max_duration_s=100_000))
    assert form_of(exotel.requests[0])["TimeLimit"] == "14400"


async def test_answering_machines_are_refused_before_anything_is_sent(
    exotel: Exotel, client: ExotelClient
) -> None:
    with pytest.raises(UnsupportedByCarrier):
        await client.place_call(order(amd=AmdMode.DETECT))
    assert exotel.requests == []


@pytest.mark.parametrize("row", capture("connect_errors.json")[:4], ids=lambda row: row["status"])
async def test_refusals(exotel: Exotel, client: ExotelClient, row: dict[str, Any]) -> None:
    exotel.answer(row["status"], row["body"])
    with pytest.raises((CarrierRejected, CarrierBusy)) as caught:
        await client.place_call(order())
    error = caught.value
    if row["status"] == 429:
        assert isinstance(error, CarrierBusy)
    else:
        assert isinstance(error, CarrierRejected)
        assert error.status == row["status"]
        assert error.carrier_code == str(row["body"]["RestException"].get("Code", ""))
    assert "09876543210" not in str(error)
    assert len(exotel.requests) == 1


@pytest.mark.parametrize("body", [None, [], {"RestException": []}, {"RestException": {}}, "<x/>"])
async def test_a_refusal_in_another_shape(
    exotel: Exotel, client: ExotelClient, body: object
) -> None:
    exotel.answer(418, body)
    with pytest.raises(CarrierRejected) as caught:
        await client.place_call(order())
    assert (caught.value.status, caught.value.carrier_code) == (418, "")


@pytest.mark.parametrize(
    ("error", "kind", "retryable"),
    [
        (httpx.ConnectError("refused"), CarrierUnavailable, True),
        (httpx.ConnectTimeout("slow"), CarrierUnavailable, True),
        (httpx.ReadTimeout("slow"), CarrierTimeout, False),
        (httpx.ReadError("reset"), CarrierUnavailable, False),
    ],
)
async def test_a_dial_is_never_sent_twice(
    exotel: Exotel,
    client: ExotelClient,
    error: Exception,
    kind: type[CarrierTimeout | CarrierUnavailable],
    retryable: bool,
) -> None:
    exotel.fail(error)
    with pytest.raises(kind) as caught:
        await client.place_call(order())
    assert caught.value.retryable is retryable
    assert len(exotel.requests) == 1


@pytest.mark.parametrize("status", [500, 503])
async def test_a_dial_that_failed_there_may_have_dialled(
    exotel: Exotel, client: ExotelClient, status: int
) -> None:
    exotel.answer(status)
    with pytest.raises(CarrierUnavailable) as caught:
        await client.place_call(order())
    assert not caught.value.retryable


@pytest.mark.parametrize("body", [None, [], {}, {"Call": {}}, {"Call": {"Sid": ""}}])
async def test_a_dial_with_an_answer_that_cannot_be_read(
    exotel: Exotel, client: ExotelClient, body: object
) -> None:
    exotel.answer(200, body)
    with pytest.raises(CarrierUnavailable) as caught:
        await client.place_call(order())
    assert not caught.value.retryable


async def test_a_peer_that_never_ends_its_answer(http: httpx.AsyncClient) -> None:
    async def hang(_: httpx.Request) -> httpx.Response:
        await asyncio.Event().wait()
        raise AssertionError

    async with httpx.AsyncClient(transport=httpx.MockTransport(hang)) as slow:
        client = ExotelClient(ACCOUNT, slow, request_timeout_s=0.01)
        with pytest.raises(CarrierTimeout):
            await client.place_call(order())


async def test_a_call_is_read(exotel: Exotel, client: ExotelClient) -> None:
    exotel.answer(200, call_reply(Status="completed", Duration="17"))
    call = await client.fetch_call(CALL_SID)
    assert call is not None
    assert (call.event, call.carrier_word, call.duration_s) == (
        *(CallEvent.COMPLETED, "completed"),
        17,
    )
    # We dialled: who was called stands in From.
    assert (call.direction, call.from_number, call.to_number) == (
        *(Direction.OUTBOUND, "+918047091234"),
        "+919876543210",
    )
    assert str(exotel.requests[0].url) == f"{ROOT}/Calls/{CALL_SID}.json"


async def test_an_inbound_call_is_read(exotel: Exotel, client: ExotelClient) -> None:
    exotel.answer(200, call_reply(Direction="inbound", Duration=None, From=None))
    call = await client.fetch_call("a/b")
    assert call is not None
    assert (call.direction, call.from_number, call.to_number) == (
        *(Direction.INBOUND, "anonymous"),
        "+918047091234",
    )
    assert call.event is CallEvent.INITIATED  # in-progress: nobody knows who has answered
    assert exotel.requests[0].url.raw_path.endswith(b"/Calls/a%2Fb.json")


async def test_a_call_that_exotel_does_not_know(exotel: Exotel, client: ExotelClient) -> None:
    exotel.answer(404, {"RestException": {"Status": 404}})
    assert await client.fetch_call(CALL_SID) is None


async def test_reading_is_repeated(exotel: Exotel, client: ExotelClient) -> None:
    exotel.answer(503)
    exotel.answer(429)
    exotel.fail(httpx.ReadTimeout("slow"))
    exotel.answer(200, call_reply())
    assert await client.fetch_call(CALL_SID) is not None


@pytest.mark.parametrize("status", [401, 403])
async def test_reading_that_is_refused_is_not_repeated(
    exotel: Exotel, client: ExotelClient, status: int
) -> None:
    exotel.answer(status)
    with pytest.raises(CarrierRejected):
        await client.fetch_call(CALL_SID)


@pytest.mark.parametrize("word", ["completed", "failed", "busy", "no-answer", "canceled"])
async def test_a_call_that_is_over_counts_as_hung_up(
    exotel: Exotel, client: ExotelClient, word: str
) -> None:
    exotel.answer(200, call_reply(Status=word))
    await client.hang_up(CALL_SID)


async def test_an_unknown_call_counts_as_hung_up(exotel: Exotel, client: ExotelClient) -> None:
    exotel.answer(404)
    await client.hang_up(CALL_SID)


@pytest.mark.parametrize("word", ["queued", "in-progress", "odd"])
async def test_a_live_call_cannot_be_hung_up(
    exotel: Exotel, client: ExotelClient, word: str
) -> None:
    exotel.answer(200, call_reply(Status=word))
    with pytest.raises(UnsupportedByCarrier):
        await client.hang_up(CALL_SID)


async def test_what_the_api_lacks_sends_nothing(exotel: Exotel, client: ExotelClient) -> None:
    with pytest.raises(UnsupportedByCarrier):
        await client.redirect(CALL_SID, "https://h/x")
    with pytest.raises(CarrierUnavailable) as caught:
        await client.fetch_open_calls()
    assert not caught.value.retryable
    assert exotel.requests == []


@pytest.mark.parametrize("is_nested", [True, False])
async def test_a_number_is_found(
    exotel: Exotel,
    client: ExotelClient,
    is_nested: bool,
) -> None:
    numbers: list[dict[str, Any]] = [
        {"Sid": "n1", "PhoneNumber": "08047090000"},
        {"Sid": "n2", "PhoneNumber": "08047091234", "VoiceUrl": "http://my.exotel.com/x"},
    ]
    wrapped = [{"IncomingPhoneNumber": number} if is_nested else number for number in numbers]
    exotel.answer(200, {"IncomingPhoneNumbers": wrapped}, times=2)
    found = await client.fetch_number("+918047091234")
    assert found is not None
    assert (found.number, found.number_id) == ("+918047091234", "n2")
    assert found.voice_url == "http://my.exotel.com/x"
    assert await client.fetch_number("+918047099999") is None


async def test_credentials(exotel: Exotel, client: ExotelClient) -> None:
    exotel.answer(200, {"IncomingPhoneNumbers": []})
    await client.check_credentials()
    assert str(exotel.requests[0].url) == f"{ROOT}/IncomingPhoneNumbers.json"
    exotel.answer(401, {"RestException": {"Status": 401}})
    with pytest.raises(CarrierRejected, match="another region"):
        await client.check_credentials()


async def test_the_region_is_a_setting(exotel: Exotel, http: httpx.AsyncClient) -> None:
    account = ExotelAccount.model_validate({**KEYS, "api_base": "https://api.exotel.com/"})
    exotel.answer(404)
    await ExotelClient(account, http).fetch_call("x")
    assert exotel.requests[0].url.host == "api.exotel.com"


async def test_a_client_needs_its_credentials(http: httpx.AsyncClient) -> None:
    assert isinstance(new_client(ACCOUNT, http), ExotelClient)
    with pytest.raises(ConfigError):
        new_client(ExotelAccount(), http)
    with pytest.raises(TypeError):
        new_client(TwilioAccount(), http)
