from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import stamina

from trunkline.carriers.vobiz.account import VobizAccount
from trunkline.carriers.vobiz.rest import VobizClient, new_client
from trunkline.errors import CarrierBusy, CarrierError, CarrierRejected, ConfigError
from trunkline.telephony.call import CallEvent
from trunkline.telephony.carrier import DialOrder, StreamConnect
from trunkline.telephony.webhook import Document

CAPTURES = Path(__file__).parents[3] / "captures" / "vobiz"
CREATE = json.loads((CAPTURES / "call_create.json").read_text(encoding="utf-8"))
CONTROL = {
    row["op"]: row
    for row in json.loads((CAPTURES / "call_control.json").read_text(encoding="utf-8"))
}

CALL_ID = "5401fd2e-6344-40df-a22c-c8ffea7a92e7"
ACCOUNT = VobizAccount.model_validate({"auth_id": "MA_TEST0001", "auth_token": "TOKEN"})
HOST = "https://api.vobiz.ai"


class Vobiz:
    """Answers requests, and keeps them."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self.answers: list[httpx.Response] = []

    def answer(self, status: int, body: object = None) -> None:
        self.answers.append(httpx.Response(status, json=body))

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return self.answers.pop(0)


@pytest.fixture
def peer() -> Iterator[Vobiz]:
    peer = Vobiz()
    yield peer
    assert peer.answers == [], "an answer was not asked for"


@pytest.fixture
async def http(peer: Vobiz) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.MockTransport(peer)) as http:
        yield http


@pytest.fixture
def client(http: httpx.AsyncClient) -> VobizClient:
    return VobizClient(ACCOUNT, http)


@pytest.fixture(autouse=True)
def no_pauses_between_attempts() -> Iterator[None]:
    with stamina.set_testing(True, attempts=4, cap=True):
        yield


def order(**changes: Any) -> DialOrder:
    fields: dict[str, Any] = {
        "call_id": "c1",
        "to_number": "+919876543210",
        "from_number": "+911171366941",
        "stream": StreamConnect(stream_url="wss://voice.example.com/ws/vobiz/desk/t"),
        "answer": Document(content_type="application/xml", body=b"<Response/>"),
        "answer_url": "https://voice.example.com/telephony/vobiz/answer/c1",
        "status_url": "https://voice.example.com/telephony/vobiz/events/c1",
        "ring_timeout_s": 45,
        "max_duration_s": 3600,
    }
    return DialOrder(**{**fields, **changes})


@pytest.mark.parametrize("status", [200, 201, 202])
async def test_a_dial_has_the_captured_shape(peer: Vobiz, client: VobizClient, status: int) -> None:
    peer.answer(status, CREATE["response"]["body"])
    placed = await client.place_call(order())
    assert (placed.carrier_call_id, placed.event) == (CALL_ID, CallEvent.INITIATED)
    captured, request = CREATE["request"], peer.requests[0]
    assert (request.method, str(request.url)) == (captured["method"], captured["url"])
    assert all(request.headers[name] == value for name, value in captured["headers"].items())
    assert "authorization" not in request.headers
    ours = json.loads(request.content)
    assert set(ours) == set(captured["body"])
    unlike = {"answer_url", "ring_url", "hangup_url"}
    for name in set(ours) - unlike:
        assert ours[name] == captured["body"][name], name


async def test_an_account_may_want_the_plus(peer: Vobiz, http: httpx.AsyncClient) -> None:
    account = ACCOUNT.model_copy(update={"dial_with_plus": True})
    peer.answer(200, CREATE["response"]["body"])
    await VobizClient(account, http).place_call(order())
    assert json.loads(peer.requests[0].content)["to"] == "+919876543210"


@pytest.mark.parametrize("case", CREATE["errors"], ids=lambda case: case["status"])
async def test_captured_refusals(peer: Vobiz, client: VobizClient, case: dict[str, Any]) -> None:
    peer.answer(case["status"], case["body"])
    with pytest.raises(CarrierError) as caught:
        await client.place_call(order())
    expected = CarrierBusy if case["status"] == 429 else CarrierRejected
    assert type(caught.value) is expected


@pytest.mark.parametrize("status", [*CONTROL["hangup"]["ok"], CONTROL["hangup"]["already_ended"]])
async def test_hang_up(peer: Vobiz, client: VobizClient, status: int) -> None:
    peer.answer(status)
    await client.hang_up(CALL_ID)
    (request,) = peer.requests
    assert (request.method, str(request.url)) == ("DELETE", HOST + CONTROL["hangup"]["url"])


async def test_transfer_keys_and_look_up(peer: Vobiz, client: VobizClient) -> None:
    peer.answer(202, CONTROL["transfer"]["response"])
    await client.redirect(CALL_ID, CONTROL["transfer"]["body"]["aleg_url"])
    peer.answer(202)
    await client.send_dtmf(CALL_ID, CONTROL["dtmf"]["body"]["digits"])
    peer.answer(200, {"call_uuid": CALL_ID, "call_status": "ringing", "to": "09876543210"})
    call = await client.fetch_call(CALL_ID)
    assert call is not None
    assert (call.event, call.to_number) == (CallEvent.RINGING, "+919876543210")
    for request, name in zip(peer.requests, ("transfer", "dtmf", "live call"), strict=True):
        captured = CONTROL[name]
        assert (request.method, str(request.url)) == (captured["method"], HOST + captured["url"])
        assert json.loads(request.content or b"null") == captured.get("body")


async def test_numbers(peer: Vobiz, client: VobizClient) -> None:
    items = [{"e164": "+9111713669410"}, {"e164": "+911171366941", "application_id": 7}]
    peer.answer(200, {"items": items})
    found = await client.fetch_number("+911171366941")
    assert found is not None
    assert (found.number_id, found.voice_url) == ("+911171366941", None)
    assert found.raw["application_id"] == 7
    url = peer.requests[0].url
    assert url.path == "/api/v1/Account/MA_TEST0001/numbers"
    assert url.params["search"] == "911171366941"
    peer.answer(200, {"items": []})
    assert await client.fetch_number("+911171366941") is None


async def test_check_credentials(peer: Vobiz, client: VobizClient) -> None:
    peer.answer(200, {"items": []})
    await client.check_credentials()
    peer.answer(401, {"error": "unauthorized"})
    with pytest.raises(CarrierRejected, match="credentials are refused"):
        await client.check_credentials()


def test_a_client_needs_credentials(http: httpx.AsyncClient) -> None:
    assert isinstance(new_client(ACCOUNT, http), VobizClient)
    with pytest.raises(ConfigError):
        new_client(VobizAccount(), http)
