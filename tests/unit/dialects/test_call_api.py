from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import pytest
import stamina

from trunkline.dialects.call_api import CallApi, CallApiRules
from trunkline.errors import (
    CarrierBusy,
    CarrierError,
    CarrierRejected,
    CarrierTimeout,
    CarrierUnavailable,
)
from trunkline.telephony.call import CallEvent, Direction
from trunkline.telephony.carrier import AmdMode, DialOrder, StreamConnect
from trunkline.telephony.webhook import Document

CALL_ID = "4b1f2c3d-0000-4000-8000-000000000001"
ROOT = "https://api.example.test/v1/Account/MA1"
RULES = CallApiRules(
    carrier="somebody", dialled=lambda number: number.removeprefix("+"), cancels_requests=True
)
LIVE = {
    "call_uuid": CALL_ID,
    "call_status": "in-progress",
    "direction": "outbound",
    "from": "+13125550123",
    "to": "14155550100",
}
PAST = {
    "call_uuid": CALL_ID,
    "call_direction": "inbound",
    "from_number": "14155550100",
    "to_number": "13125550123",
    "call_duration": "37",
    "answer_time": "2026-10-06 10:15:05",
    "hangup_cause_code": 4000,
}

Answer = Callable[[httpx.Request], httpx.Response]


class Peer:
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

    @property
    def asked(self) -> list[str]:
        return [f"{each.method} {str(each.url).removeprefix(ROOT)}" for each in self.requests]


@pytest.fixture
def peer() -> Iterator[Peer]:
    peer = Peer()
    yield peer
    assert peer.answers == [], "an answer was not asked for"


@pytest.fixture
async def http(peer: Peer) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.MockTransport(peer)) as client:
        yield client


@pytest.fixture
def api(http: httpx.AsyncClient) -> CallApi:
    return CallApi(RULES, http, root=ROOT, headers={"X-Auth-ID": "MA1"})


@pytest.fixture(autouse=True)
def no_pauses_between_attempts() -> Iterator[None]:
    with stamina.set_testing(True, attempts=4, cap=True):
        yield


def order(**changes: Any) -> DialOrder:
    fields: dict[str, Any] = {
        "call_id": "c1",
        "to_number": "+14155550100",
        "from_number": "+13125550123",
        "stream": StreamConnect(stream_url="wss://voice.example.test/ws/somebody/desk/t"),
        "answer": Document(content_type="application/xml", body=b"<Response/>"),
        "answer_url": "https://voice.example.test/telephony/somebody/answer/c1",
        "status_url": "https://voice.example.test/telephony/somebody/events/c1",
    }
    return DialOrder(**{**fields, **changes})


async def test_a_plain_dial(peer: Peer, api: CallApi) -> None:
    peer.answer(201, {"api_id": "x", "message": "call fired", "request_uuid": CALL_ID})

    placed = await api.place_call(order())

    assert (placed.carrier_call_id, placed.event) == (CALL_ID, CallEvent.INITIATED)
    assert placed.raw["message"] == "call fired"
    (request,) = peer.requests
    assert peer.asked == ["POST /Call/"]
    assert request.headers["x-auth-id"] == "MA1"
    status_url = order().status_url
    assert json.loads(request.content) == {
        "from": "13125550123",
        "to": "14155550100",
        "answer_url": order().answer_url,
        "answer_method": "POST",
        "ring_url": status_url,
        "ring_method": "POST",
        "hangup_url": status_url,
        "hangup_method": "POST",
        "ring_timeout": 60,
    }


@pytest.mark.parametrize("mode", AmdMode)
async def test_a_dial_with_everything(peer: Peer, api: CallApi, mode: AmdMode) -> None:
    peer.answer(200, {"request_uuid": [CALL_ID]})
    placed = await api.place_call(order(amd=mode, ring_timeout_s=30, max_duration_s=600))
    assert placed.carrier_call_id == CALL_ID
    sent = json.loads(peer.requests[0].content)
    assert (sent["ring_timeout"], sent["time_limit"]) == (30, 600)
    assert (sent["machine_detection"], sent["machine_detection_url"]) == (
        "true",
        order().status_url,
    )


async def test_hang_up(peer: Peer, api: CallApi) -> None:
    peer.answer(204)
    await api.hang_up(CALL_ID)
    assert peer.asked == [f"DELETE /Call/{CALL_ID}/"]


async def test_hanging_up_an_unanswered_dial_cancels_the_request(peer: Peer, api: CallApi) -> None:
    peer.answer(404)
    peer.answer(204)
    await api.hang_up(CALL_ID)
    assert peer.asked == [f"DELETE /Call/{CALL_ID}/", f"DELETE /Request/{CALL_ID}/"]


async def test_a_call_that_is_over_counts_as_hung_up(peer: Peer, api: CallApi) -> None:
    peer.answer(404, times=2)
    await api.hang_up(CALL_ID)


async def test_requests_are_cancelled_only_where_there_are_any(
    peer: Peer, http: httpx.AsyncClient
) -> None:
    rules = CallApiRules(carrier="other", dialled=str, cancels_requests=False)
    peer.answer(404)
    await CallApi(rules, http, root=ROOT).hang_up(CALL_ID)
    assert peer.asked == [f"DELETE /Call/{CALL_ID}/"]


async def test_a_live_call(peer: Peer, api: CallApi) -> None:
    peer.answer(200, LIVE)
    call = await api.fetch_call(CALL_ID)
    assert call is not None
    assert (call.carrier_call_id, call.event) == (CALL_ID, CallEvent.ANSWERED)
    assert (call.from_number, call.to_number) == ("+13125550123", "+14155550100")
    assert (call.direction, call.carrier_word) == (Direction.OUTBOUND, "in-progress")
    assert peer.asked == [f"GET /Call/{CALL_ID}/?status=live"]


async def test_a_queued_call(peer: Peer, api: CallApi) -> None:
    peer.answer(404)
    peer.answer(200, {**LIVE, "call_status": "hovering", "from": ""})
    call = await api.fetch_call(CALL_ID)
    assert call is not None
    assert (call.event, call.from_number) == (CallEvent.UNKNOWN, "anonymous")


async def test_a_past_call(peer: Peer, api: CallApi) -> None:
    peer.answer(404, times=2)
    peer.answer(200, PAST)
    call = await api.fetch_call(CALL_ID)
    assert call is not None
    assert (call.event, call.carrier_word, call.duration_s) == (CallEvent.COMPLETED, "4000", 37)
    assert (call.from_number, call.to_number) == ("+14155550100", "+13125550123")
    assert (call.direction, call.raw["hangup_cause_code"]) == (Direction.INBOUND, "4000")
    assert peer.asked[2] == f"GET /Call/{CALL_ID}/"


@pytest.mark.parametrize(
    ("code", "event"),
    [
        ("1000", CallEvent.CANCELED),
        ("3000", CallEvent.NO_ANSWER),
        ("3010", CallEvent.BUSY),
        (6010, CallEvent.NO_ANSWER),
        ("7011", CallEvent.FAILED),
        (None, CallEvent.FAILED),
    ],
)
async def test_calls_that_nobody_answered(
    peer: Peer, api: CallApi, code: object, event: CallEvent
) -> None:
    peer.answer(404, times=2)
    peer.answer(200, {"call_uuid": CALL_ID, "answer_time": None, "hangup_cause_code": code})
    call = await api.fetch_call(CALL_ID)
    assert call is not None
    assert call.event is event


async def test_an_unknown_call_is_none(peer: Peer, api: CallApi) -> None:
    peer.answer(404, times=3)
    assert await api.fetch_call(CALL_ID) is None


async def test_open_calls(peer: Peer, api: CallApi) -> None:
    peer.answer(200, {"calls": ["Q1", CALL_ID]})
    peer.answer(200, {"calls": [CALL_ID]})
    peer.answer(404, times=3)  # Q1 is gone
    peer.answer(200, LIVE)
    calls = await api.fetch_open_calls()
    assert [call.carrier_call_id for call in calls] == [CALL_ID]
    assert peer.asked[:2] == ["GET /Call/?status=queued", "GET /Call/?status=live"]


async def test_open_calls_are_counted_off(peer: Peer, api: CallApi) -> None:
    peer.answer(200, {"calls": [f"C{number}" for number in range(150)]})
    peer.answer(200, {})
    peer.answer(200, LIVE, times=100)
    assert len(await api.fetch_open_calls()) == 100


async def test_redirect_and_keys(peer: Peer, api: CallApi) -> None:
    url = "https://voice.example.test/telephony/somebody/continue/c1"
    peer.answer(202, {"message": "call transferred"})
    await api.redirect(CALL_ID, url)
    peer.answer(202, {"message": "digits sent"})
    await api.send_dtmf(CALL_ID, "1w2#")
    assert peer.asked == [f"POST /Call/{CALL_ID}/", f"POST /Call/{CALL_ID}/DTMF/"]
    bodies = [json.loads(request.content) for request in peer.requests]
    assert bodies == [
        {"legs": "aleg", "aleg_url": url, "aleg_method": "POST"},
        {"digits": "1w2#", "leg": "aleg"},
    ]


async def test_an_id_cannot_lead_to_another_resource(peer: Peer, api: CallApi) -> None:
    peer.answer(404, times=3)
    await api.fetch_call("../Number?x=1#")
    raw_path = peer.requests[0].url.raw_path.decode()
    assert raw_path.startswith("/v1/Account/MA1/Call/..%2FNumber%3Fx%3D1%23/?")


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
    (401, CarrierRejected, False),
    (402, CarrierRejected, False),
    (404, CarrierRejected, False),
]


@pytest.mark.parametrize(("failure", "expected", "retryable"), FAILURES, ids=repr)
async def test_a_dial_is_sent_once(
    peer: Peer, api: CallApi, failure: Exception, expected: type[CarrierError], retryable: bool
) -> None:
    peer.fail(failure)
    with pytest.raises(expected) as caught:
        await api.place_call(order())
    assert type(caught.value) is expected
    assert caught.value.retryable is retryable
    assert caught.value.operation == "place call"
    assert len(peer.requests) == 1


@pytest.mark.parametrize(("status", "expected", "retryable"), STATUSES)
async def test_a_dial_that_is_answered_with_an_error(
    peer: Peer, api: CallApi, status: int, expected: type[CarrierError], retryable: bool
) -> None:
    peer.answer(status, {"error": "+14155550100 is bad"})
    with pytest.raises(expected) as caught:
        await api.place_call(order())
    assert type(caught.value) is expected
    assert caught.value.retryable is retryable
    assert "4155" not in f"{caught.value} {caught.value!r}"
    assert len(peer.requests) == 1


@pytest.mark.parametrize("body", [None, {}, {"request_uuid": []}, {"request_uuid": ""}, []])
async def test_a_dial_whose_answer_cannot_be_read_may_have_dialled(
    peer: Peer, api: CallApi, body: object
) -> None:
    peer.answer(201, body)
    with pytest.raises(CarrierUnavailable) as caught:
        await api.place_call(order())
    assert not caught.value.retryable


@pytest.mark.parametrize(("failure", "expected", "_"), FAILURES, ids=repr)
async def test_reading_and_hanging_up_are_repeated(
    peer: Peer, api: CallApi, failure: Exception, expected: object, _: object
) -> None:
    peer.fail(failure, times=3)
    peer.answer(200, LIVE)
    assert await api.fetch_call(CALL_ID) is not None
    peer.fail(failure)
    peer.answer(503)
    peer.answer(429)
    peer.answer(204)
    await api.hang_up(CALL_ID)


async def test_repeating_ends(peer: Peer, api: CallApi) -> None:
    peer.answer(503, times=4)
    with pytest.raises(CarrierUnavailable):
        await api.hang_up(CALL_ID)
    assert len(peer.requests) == 4


async def test_what_is_refused_is_told(peer: Peer, api: CallApi) -> None:
    peer.answer(401, times=2)
    with pytest.raises(CarrierRejected, match="credentials are refused"):
        await api.hang_up(CALL_ID)
    with pytest.raises(CarrierRejected) as caught:
        await api.fetch_call(CALL_ID)
    assert caught.value.status == 401


async def test_a_peer_that_never_finishes(http: httpx.AsyncClient, peer: Peer) -> None:
    async def hang(_: httpx.Request) -> httpx.Response:
        await asyncio.Event().wait()
        raise AssertionError

    async with httpx.AsyncClient(transport=httpx.MockTransport(hang)) as client:
        api = CallApi(RULES, client, root=ROOT, request_timeout_s=0.01)
        with pytest.raises(CarrierTimeout):
            await api.place_call(order())
