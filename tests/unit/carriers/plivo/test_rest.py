from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import plivo
import pytest
import requests
import stamina

from trunkline.carriers.plivo.account import PlivoAccount
from trunkline.carriers.plivo.rest import PlivoClient, new_client
from trunkline.errors import CarrierBusy, CarrierRejected, CarrierUnavailable, ConfigError
from trunkline.telephony.call import CallEvent
from trunkline.telephony.carrier import AmdMode, DialOrder, StreamConnect
from trunkline.telephony.webhook import Document

CAPTURES = Path(__file__).parents[3] / "captures" / "plivo"
REST = {
    row["name"]: row for row in json.loads((CAPTURES / "rest.json").read_text(encoding="utf-8"))
}

AUTH_ID = "MAXXXXXXXXXXXXXXXXXX"
TOKEN = "bWFkZS11cC1hdXRoLXRva2VuLWZvci10ZXN0czAx"
CALL_ID = "4b1f2c3d-0000-4000-8000-000000000001"
ACCOUNT = PlivoAccount.model_validate({"auth_id": AUTH_ID, "auth_token": TOKEN})
EVENTS_URL = "https://voice.example.test/telephony/plivo/events/c1"


class Plivo:
    """Answers requests, and keeps them."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self.answers: list[httpx.Response] = []

    def answer(self, status: int, body: object = None) -> None:
        self.answers.append(httpx.Response(status, json=body))

    def answer_as_captured(self, name: str) -> None:
        response = REST[name]["response"]
        content = response.get("body", "") if "json" not in response else None
        self.answers.append(
            httpx.Response(response["status"], json=response.get("json"))
            if content is None
            else httpx.Response(response["status"], text=content)
        )

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return self.answers.pop(0)


@pytest.fixture
def peer() -> Iterator[Plivo]:
    peer = Plivo()
    yield peer
    assert peer.answers == [], "an answer was not asked for"


@pytest.fixture
async def client(peer: Plivo) -> AsyncIterator[PlivoClient]:
    async with httpx.AsyncClient(transport=httpx.MockTransport(peer)) as http:
        yield PlivoClient(ACCOUNT, http)


@pytest.fixture(autouse=True)
def no_pauses_between_attempts() -> Iterator[None]:
    with stamina.set_testing(True, attempts=4, cap=True):
        yield


def order(**changes: Any) -> DialOrder:
    fields: dict[str, Any] = {
        "call_id": "c1",
        "to_number": "+14155550100",
        "from_number": "+13125550123",
        "stream": StreamConnect(stream_url="wss://voice.example.test/ws/plivo/desk/t"),
        "answer": Document(content_type="application/xml", body=b"<Response/>"),
        "answer_url": "https://voice.example.test/telephony/plivo/answer/c1",
        "status_url": EVENTS_URL,
    }
    return DialOrder(**{**fields, **changes})


def official_request(
    use: Callable[[plivo.RestClient], object], reply: object
) -> requests.PreparedRequest:
    """What the official SDK would have sent."""
    sent: list[requests.PreparedRequest] = []

    class Recorder(plivo.RestClient):
        def send_request(
            self, request: requests.PreparedRequest, **options: Any
        ) -> requests.Response:
            sent.append(request)
            response = requests.Response()
            response.status_code = 200
            response._content = json.dumps(reply).encode()  # noqa: SLF001 - no public way to set it
            response.request = request
            return response

    use(Recorder(AUTH_ID, TOKEN))
    return sent[-1]


def assert_same_request(ours: httpx.Request, official: requests.PreparedRequest) -> None:
    assert ours.method == official.method
    theirs = httpx.URL(official.url or "")
    # The SDK knows other hosts, too: its fallbacks dial twice. And it repeats arguments, and the
    # defaults of paging, in the query.
    assert ours.url.path == theirs.path
    assert set(ours.url.params.items()) <= set(theirs.params.items())
    assert ours.headers["authorization"] == official.headers["Authorization"]


def body_of(request: requests.PreparedRequest) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(request.body or b"{}")
    return body


async def test_a_dial_with_everything_is_what_the_official_sdk_sends(
    peer: Plivo, client: PlivoClient
) -> None:
    peer.answer_as_captured("create_call")
    dial = order(amd=AmdMode.DETECT, ring_timeout_s=30, max_duration_s=3600)

    placed = await client.place_call(dial)

    assert (placed.carrier_call_id, placed.event) == (CALL_ID, CallEvent.INITIATED)
    official = official_request(
        lambda sdk: sdk.calls.create(
            from_="13125550123",
            to_="14155550100",
            answer_url=dial.answer_url,
            answer_method="POST",
            ring_url=EVENTS_URL,
            hangup_url=EVENTS_URL,
            ring_timeout=30,
            time_limit=3600,
            machine_detection="true",
            machine_detection_url=EVENTS_URL,
        ),
        REST["create_call"]["response"]["json"],
    )
    assert_same_request(peer.requests[0], official)
    theirs = body_of(official)
    ours = json.loads(peer.requests[0].content)
    assert {name: theirs[name] for name in ours} == ours
    # What the SDK says beside it are Plivo's defaults.
    assert {name: theirs[name] for name in set(theirs) - set(ours)} == {
        "fallback_method": "POST",
        "machine_detection_time": 5000,
        "error_if_parent_not_found": False,
    }


async def test_a_dial_has_the_captured_shape(peer: Plivo, client: PlivoClient) -> None:
    peer.answer_as_captured("create_call_bulk")
    placed = await client.place_call(
        order(amd=AmdMode.DETECT, ring_timeout_s=30, max_duration_s=3600)
    )
    assert placed.carrier_call_id == CALL_ID
    captured = REST["create_call"]["request"]
    request = peer.requests[0]
    assert (request.method, str(request.url)) == (captured["method"], captured["url"])
    ours = json.loads(request.content)
    assert {name: type(ours[name]) for name in captured["json"]} == {
        name: type(value) for name, value in captured["json"].items()
    }


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("bad_request", CarrierRejected),
        ("unauthorized", CarrierRejected),
        ("rate_limited", CarrierBusy),
    ],
)
async def test_captured_refusals(
    peer: Plivo, client: PlivoClient, name: str, error: type[Exception]
) -> None:
    peer.answer_as_captured(name)
    with pytest.raises(error):
        await client.place_call(order())


async def test_hang_up_is_what_the_official_sdk_sends(peer: Plivo, client: PlivoClient) -> None:
    peer.answer_as_captured("hangup")
    await client.hang_up(CALL_ID)
    assert_same_request(
        peer.requests[0], official_request(lambda sdk: sdk.calls.delete(CALL_ID), {})
    )
    assert str(peer.requests[0].url) == REST["hangup"]["request"]["url"]


async def test_an_unanswered_dial_is_cancelled_as_the_official_sdk_does(
    peer: Plivo, client: PlivoClient
) -> None:
    peer.answer_as_captured("hangup_gone")
    peer.answer_as_captured("cancel_unanswered")
    await client.hang_up(CALL_ID)
    official = official_request(lambda sdk: sdk.calls.cancel(CALL_ID), {})
    assert_same_request(peer.requests[1], official)


async def test_a_live_call_is_read_as_the_official_sdk_does(
    peer: Plivo, client: PlivoClient
) -> None:
    peer.answer_as_captured("live_call")
    call = await client.fetch_call(CALL_ID)
    assert call is not None
    assert (call.event, call.from_number) == (CallEvent.ANSWERED, "+13125550123")
    official = official_request(
        lambda sdk: sdk.live_calls.get(CALL_ID), REST["live_call"]["response"]["json"]
    )
    assert_same_request(peer.requests[0], official)


async def test_a_past_call_is_read_as_the_official_sdk_does(
    peer: Plivo, client: PlivoClient
) -> None:
    peer.answer_as_captured("hangup_gone")
    peer.answer_as_captured("hangup_gone")
    peer.answer(200, {"call_uuid": CALL_ID, "hangup_cause_code": 3010})
    call = await client.fetch_call(CALL_ID)
    assert call is not None
    assert call.event is CallEvent.BUSY
    official = official_request(lambda sdk: sdk.calls.get(CALL_ID), {"call_uuid": CALL_ID})
    assert_same_request(peer.requests[2], official)


async def test_redirect_is_what_the_official_sdk_sends(peer: Plivo, client: PlivoClient) -> None:
    url = REST["transfer"]["request"]["json"]["aleg_url"]
    peer.answer_as_captured("transfer")
    await client.redirect(CALL_ID, url)
    official = official_request(
        lambda sdk: sdk.calls.update(CALL_ID, legs="aleg", aleg_url=url, aleg_method="POST"), {}
    )
    assert_same_request(peer.requests[0], official)
    assert json.loads(peer.requests[0].content) == REST["transfer"]["request"]["json"]
    assert json.loads(peer.requests[0].content).items() <= body_of(official).items()


async def test_keys_are_what_the_official_sdk_sends(peer: Plivo, client: PlivoClient) -> None:
    peer.answer_as_captured("send_dtmf")
    await client.send_dtmf(CALL_ID, "1w2#")
    assert json.loads(peer.requests[0].content) == REST["send_dtmf"]["request"]["json"]
    assert str(peer.requests[0].url) == REST["send_dtmf"]["request"]["url"]


async def test_a_number_and_its_application(peer: Plivo, client: PlivoClient) -> None:
    application = f"/v1/Account/{AUTH_ID}/Application/20372631212782780/"
    peer.answer(200, {"number": "13125550123", "application": application})
    peer.answer(200, {"answer_url": "https://a/", "answer_method": "POST"})

    found = await client.fetch_number("+13125550123")

    assert found is not None
    assert (found.number, found.number_id) == ("+13125550123", "13125550123")
    assert (found.voice_url, found.voice_method) == ("https://a/", "POST")
    official = [
        official_request(lambda sdk: sdk.numbers.get("13125550123"), {"number": "1"}),
        official_request(
            lambda sdk: sdk.applications.get("20372631212782780"), {"app_id": "20372631212782780"}
        ),
    ]
    for ours, theirs in zip(peer.requests, official, strict=True):
        assert_same_request(ours, theirs)


async def test_a_number_without_an_application_and_one_of_somebody_else(
    peer: Plivo, client: PlivoClient
) -> None:
    peer.answer(200, {"number": "13125550123", "application": None})
    found = await client.fetch_number("+13125550123")
    assert found is not None
    assert (found.voice_url, found.voice_method) == (None, None)
    peer.answer(404)
    assert await client.fetch_number("+14155550100") is None


async def test_a_number_may_be_refused_or_unreadable(peer: Plivo, client: PlivoClient) -> None:
    peer.answer_as_captured("unauthorized")
    with pytest.raises(CarrierRejected):
        await client.fetch_number("+13125550123")
    peer.answer(200, [])
    with pytest.raises(CarrierUnavailable):
        await client.fetch_number("+13125550123")


async def test_check_credentials(peer: Plivo, client: PlivoClient) -> None:
    peer.answer(200, {"calls": []})
    await client.check_credentials()
    official = official_request(lambda sdk: sdk.live_calls.list_ids(), {"calls": []})
    assert_same_request(peer.requests[0], official)
    peer.answer_as_captured("unauthorized")
    with pytest.raises(CarrierRejected, match="credentials are refused"):
        await client.check_credentials()


async def test_a_client_needs_credentials() -> None:
    async with httpx.AsyncClient() as http:
        assert isinstance(new_client(ACCOUNT, http), PlivoClient)
        with pytest.raises(ConfigError):
            new_client(PlivoAccount(), http)
