from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
import stamina
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from vonage_application import Application
from vonage_http_client.auth import Auth
from vonage_http_client.http_client import HttpClient
from vonage_jwt import JwtClient
from vonage_numbers import ListOwnedNumbersFilter, Numbers
from vonage_voice import Voice
from vonage_voice.models.ncco import Notify
from vonage_voice.models.requests import CreateCallRequest, ListCallsFilter

from trunkline.carriers.vonage.account import VonageAccount
from trunkline.carriers.vonage.rest import (
    TOKEN_LIFE_S,
    TOKEN_REUSE_S,
    VonageClient,
    new_client,
    new_token,
)
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
from trunkline.telephony.webhook import Document

CAPTURES = Path(__file__).parents[3] / "captures" / "vonage"
CREATE = json.loads((CAPTURES / "call_create.json").read_text(encoding="utf-8"))
CONTROL = {
    row["op"]: row
    for row in json.loads((CAPTURES / "call_control.json").read_text(encoding="utf-8"))
}
APPLICATION_JWT = json.loads((CAPTURES / "signatures.json").read_text(encoding="utf-8"))[
    "application_jwt"
]

APPLICATION_ID = "aaaaaaaa-bbbb-cccc-dddd-0123456789ab"
CALL_UUID = "aaaaaaaa-bbbb-cccc-dddd-000000000001"
NUMBER = "+442079460000"
NOW_S = 1_790_000_000.5

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PEM = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
ACCOUNT = VonageAccount.model_validate(
    {
        "api_key": "a1b2c3d4",
        "api_secret": "api-secret",
        "signature_secret": "s",
        "application_id": APPLICATION_ID,
        "private_key": PEM,
    }
)

Answer = Callable[[httpx.Request], httpx.Response]


class Vonage:
    """Answers requests, and keeps them."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self.answers: list[Answer] = []
        self.now_s = NOW_S

    def answer(self, status: int, body: object = None, *, times: int = 1) -> None:
        content = b"" if body is None else json.dumps(body).encode()
        self.answers += [lambda _: httpx.Response(status, content=content)] * times

    def fail(self, error: Exception, *, times: int = 1) -> None:
        def raise_it(_: httpx.Request) -> httpx.Response:
            raise error

        self.answers += [raise_it] * times

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return self.answers.pop(0)(request)


@pytest.fixture
def vonage() -> Iterator[Vonage]:
    peer = Vonage()
    yield peer
    assert peer.answers == [], "an answer was not asked for"


@pytest.fixture
async def http(vonage: Vonage) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.MockTransport(vonage)) as client:
        yield client


@pytest.fixture
def client(vonage: Vonage, http: httpx.AsyncClient) -> VonageClient:
    ids = iter(f"jti-{number}" for number in range(100))
    return VonageClient(ACCOUNT, http, now_s=lambda: vonage.now_s, new_jti=lambda: next(ids))


@pytest.fixture(autouse=True)
def no_pauses_between_attempts() -> Iterator[None]:
    with stamina.set_testing(True, attempts=4, cap=True):
        yield


def order(**changes: Any) -> DialOrder:
    fields: dict[str, Any] = {
        "call_id": "c1",
        "to_number": "+447700900000",
        "from_number": NUMBER,
        "stream": StreamConnect(stream_url="wss://voice.example.test/ws/vonage/desk/t"),
        "answer": Document(content_type="application/json", body=b"[]"),
        "answer_url": "https://voice.example.test/telephony/vonage/answer/c1",
        "status_url": "https://voice.example.test/telephony/vonage/events/c1",
    }
    return DialOrder(**{**fields, **changes})


class OfficialHttp(HttpClient):
    """The official SDK's client, which tells what it would have sent."""

    def __init__(self, reply: object) -> None:
        auth = Auth(
            application_id=APPLICATION_ID,
            private_key=PEM,
            api_key="a1b2c3d4",
            api_secret="api-secret",
        )
        super().__init__(auth)
        self.reply = reply
        self.sent: dict[str, Any] = {}

    def make_request(self, request_type: str, host: str, *rest: Any, **_: Any) -> Any:
        path, params, auth_type = rest[:3]
        self.sent = {
            "method": request_type,
            "url": f"https://{host}{path}",
            "params": json.loads(json.dumps(params)),
            "auth": auth_type,
        }
        return self.reply


def assert_same_request(
    ours: httpx.Request, use: Callable[[HttpClient], object], reply: object
) -> None:
    official = OfficialHttp(reply)
    use(official)
    sent = official.sent
    assert ours.method == sent["method"]
    assert str(ours.url.copy_with(query=None)) == sent["url"]
    if ours.method == "GET":
        wanted = {name: str(value) for name, value in (sent["params"] or {}).items()}
        assert dict(ours.url.params) == wanted
    else:
        assert json.loads(ours.content) == sent["params"]
        assert ours.headers["content-type"] == "application/json"
    assert ours.headers["authorization"].startswith(
        "Basic " if sent["auth"] == "basic" else "Bearer "
    )


def call_reply(**changes: object) -> dict[str, object]:
    return {
        "uuid": CALL_UUID,
        "conversation_uuid": "CON-1",
        "status": "completed",
        "direction": "outbound",
        "from": {"type": "phone", "number": "442079460000"},
        "to": {"type": "phone", "number": "447700900000"},
        "duration": "37",
        "_links": {"self": {"href": f"/v1/calls/{CALL_UUID}"}},
        **changes,
    }


def page(*calls: dict[str, object]) -> dict[str, object]:
    return {
        "count": len(calls),
        "page_size": 100,
        "record_index": 0,
        "_embedded": {"calls": list(calls)},
        "_links": {"self": {"href": "/v1/calls"}},
    }


def claims_of(request: httpx.Request) -> dict[str, Any]:
    token = request.headers["authorization"].removeprefix("Bearer ")
    return jwt.decode(
        token,
        KEY.public_key(),
        algorithms=["RS256"],
        options={"verify_exp": False, "verify_iat": False, "verify_nbf": False},
    )


def test_our_token_is_what_the_captured_one_is() -> None:
    captured = jwt.decode(
        APPLICATION_JWT["token"],
        APPLICATION_JWT["public_key_pem"],
        algorithms=["RS256"],
        options={"verify_exp": False},
    )
    assert captured == APPLICATION_JWT["claims"]
    ours = new_token(APPLICATION_ID, PEM, now_s=captured["iat"] + 0.9, jti=captured["jti"])
    assert jwt.decode(ours, options={"verify_signature": False}) == captured
    assert jwt.get_unverified_header(ours) == jwt.get_unverified_header(APPLICATION_JWT["token"])


def test_our_token_is_what_the_official_sdk_makes() -> None:
    theirs = JwtClient(APPLICATION_ID, PEM).generate_application_jwt({"iat": 5, "jti": "j"})
    ours = new_token(APPLICATION_ID, PEM, now_s=5, jti="j")
    options: Any = {"verify_signature": False}
    made = jwt.decode(theirs, options=options)
    assert jwt.decode(ours, options=options) == {**made, "nbf": 5}  # which it leaves out
    assert jwt.get_unverified_header(ours) == jwt.get_unverified_header(theirs)


async def test_one_token_serves_ten_minutes(vonage: Vonage, client: VonageClient) -> None:
    vonage.answer(200, page(), times=4)
    for now_s in (NOW_S, NOW_S + TOKEN_REUSE_S - 1, NOW_S + TOKEN_REUSE_S, NOW_S - 60):
        vonage.now_s = now_s
        await client.check_credentials()
    made = [claims_of(request) for request in vonage.requests]
    assert [claims["jti"] for claims in made] == ["jti-0", "jti-0", "jti-1", "jti-2"]
    assert made[0]["iat"] == int(NOW_S)
    assert made[0]["exp"] == int(NOW_S) + TOKEN_LIFE_S
    assert made[0]["application_id"] == APPLICATION_ID


async def test_each_client_has_tokens_of_its_own_by_default(
    vonage: Vonage, http: httpx.AsyncClient
) -> None:
    vonage.answer(200, page(), times=2)
    for _ in range(2):
        await new_client(ACCOUNT, http).check_credentials()
    first, second = [claims_of(request) for request in vonage.requests]
    assert first["jti"] != second["jti"]


async def test_a_dial_with_everything_is_what_the_official_sdk_sends(
    vonage: Vonage, client: VonageClient
) -> None:
    vonage.answer(CREATE["response"]["status"], CREATE["response"]["body"])
    dial = order(amd=AmdMode.MESSAGE_END, ring_timeout_s=30, max_duration_s=600)

    placed = await client.place_call(dial)

    assert (placed.carrier_call_id, placed.event) == (CALL_UUID, CallEvent.INITIATED)
    assert placed.raw["conversation_uuid"] == CREATE["response"]["body"]["conversation_uuid"]
    request = CreateCallRequest.model_validate(
        {
            "to": [{"type": "phone", "number": "447700900000"}],
            "from_": {"type": "phone", "number": "442079460000"},
            "answer_url": [dial.answer_url],
            "answer_method": "POST",
            "event_url": [dial.status_url],
            "event_method": "POST",
            "ringing_timer": 30,
            "length_timer": 600,
            "advanced_machine_detection": {
                "behavior": "continue",
                "mode": "detect_beep",
                "beep_timeout": 45,
            },
        }
    )
    assert_same_request(
        vonage.requests[0],
        lambda sdk: Voice(sdk).create_call(request),
        CREATE["response"]["body"],
    )


async def test_the_captured_dial(vonage: Vonage, client: VonageClient) -> None:
    captured = CREATE["request"]
    vonage.answer(201, CREATE["response"]["body"])
    await client.place_call(
        order(
            answer_url=captured["body"]["answer_url"][0],
            status_url=captured["body"]["event_url"][0],
            amd=AmdMode.DETECT,
            ring_timeout_s=45,
            max_duration_s=3600,
        )
    )
    assert json.loads(vonage.requests[0].content) == captured["body"]
    assert str(vonage.requests[0].url) == captured["url"]


async def test_a_plain_dial(vonage: Vonage, client: VonageClient) -> None:
    vonage.answer(201, {"uuid": CALL_UUID.replace("-", ""), "status": "new"})
    placed = await client.place_call(order())
    assert (placed.carrier_call_id, placed.event) == (CALL_UUID, CallEvent.UNKNOWN)
    sent = json.loads(vonage.requests[0].content)
    assert not {"length_timer", "advanced_machine_detection", "ncco"} & set(sent)


async def test_hang_up_is_what_the_official_sdk_sends(vonage: Vonage, client: VonageClient) -> None:
    vonage.answer(204)
    await client.hang_up(CALL_UUID)
    assert_same_request(vonage.requests[0], lambda sdk: Voice(sdk).hangup(CALL_UUID), None)
    assert json.loads(vonage.requests[0].content) == CONTROL["hangup"]["body"]


async def test_a_call_that_is_unknown_counts_as_hung_up(
    vonage: Vonage, client: VonageClient
) -> None:
    vonage.answer(404, {"type": "NOT_FOUND"})
    await client.hang_up(CALL_UUID)


@pytest.mark.parametrize(
    ("status", "reply", "is_over"),
    [
        (200, call_reply(), True),
        (404, {}, True),
        (200, call_reply(status="answered"), False),
        (200, call_reply(status="hovering"), False),
    ],
)
async def test_a_hang_up_that_is_not_possible_in_the_calls_state(
    vonage: Vonage, client: VonageClient, status: int, reply: object, is_over: bool
) -> None:
    vonage.answer(400, {"type": "BAD_REQUEST"})
    vonage.answer(status, reply)
    if is_over:
        await client.hang_up(CALL_UUID)
    else:
        with pytest.raises(CarrierRejected):
            await client.hang_up(CALL_UUID)


async def test_a_hang_up_that_is_refused_is_told(vonage: Vonage, client: VonageClient) -> None:
    vonage.answer(401, {"type": "UNAUTHORIZED", "error_title": "Unauthorized"})
    with pytest.raises(CarrierRejected, match="clock") as caught:
        await client.hang_up(CALL_UUID)
    assert (caught.value.status, caught.value.carrier_code) == (401, "UNAUTHORIZED")


async def test_fetch_call_is_what_the_official_sdk_sends(
    vonage: Vonage, client: VonageClient
) -> None:
    vonage.answer(200, call_reply())
    call = await client.fetch_call(CALL_UUID)
    assert call is not None
    assert (call.carrier_call_id, call.event) == (CALL_UUID, CallEvent.COMPLETED)
    assert (call.direction, call.duration_s) == (Direction.OUTBOUND, 37)
    assert (call.from_number, call.to_number) == (NUMBER, "+447700900000")
    assert_same_request(
        vonage.requests[0], lambda sdk: Voice(sdk).get_call(CALL_UUID), call_reply()
    )


async def test_fields_that_vary_or_are_missing(vonage: Vonage, client: VonageClient) -> None:
    vonage.answer(200, {"uuid": CALL_UUID.replace("-", ""), "status": "hovering", "duration": 5})
    call = await client.fetch_call(CALL_UUID)
    assert call is not None
    assert (call.carrier_call_id, call.event, call.duration_s) == (CALL_UUID, CallEvent.UNKNOWN, 5)
    assert (call.from_number, call.to_number) == ("anonymous", "")
    assert call.direction is Direction.INBOUND


@pytest.mark.parametrize("status", ["machine", "human"])
async def test_a_call_that_detection_has_judged_is_up(
    vonage: Vonage, client: VonageClient, status: str
) -> None:
    vonage.answer(200, call_reply(status=status))
    call = await client.fetch_call(CALL_UUID)
    assert call is not None
    assert (call.event, call.carrier_word) == (CallEvent.ANSWERED, status)


async def test_an_unknown_call_is_none(vonage: Vonage, client: VonageClient) -> None:
    vonage.answer(404)
    assert await client.fetch_call(CALL_UUID) is None
    vonage.answer(403)
    with pytest.raises(CarrierRejected):
        await client.fetch_call(CALL_UUID)


async def test_an_id_cannot_lead_to_another_resource(vonage: Vonage, client: VonageClient) -> None:
    vonage.answer(404)
    await client.fetch_call("../account?x=1#")
    assert vonage.requests[0].url.raw_path == b"/v1/calls/..%2Faccount%3Fx%3D1%23"


async def test_open_calls_are_asked_for_as_the_official_sdk_does(
    vonage: Vonage, client: VonageClient
) -> None:
    moving = call_reply(status="ringing", duration=None)
    socket = call_reply(
        uuid="other", status="answered", to={"type": "websocket", "uri": "wss://a/"}
    )
    vonage.answer(200, page(call_reply(uuid="first", status="started")))
    vonage.answer(200, page(moving))
    vonage.answer(200, page({**moving, "status": "answered"}, socket))

    calls = await client.fetch_open_calls()

    assert {call.carrier_call_id: call.event for call in calls} == {
        "first": CallEvent.INITIATED,
        CALL_UUID: CallEvent.ANSWERED,
    }
    for request, status in zip(vonage.requests, ("started", "ringing", "answered"), strict=True):
        filters = ListCallsFilter.model_validate({"status": status, "page_size": 100})
        assert_same_request(
            request, lambda sdk, filters=filters: Voice(sdk).list_calls(filters), page()
        )


async def test_a_page_without_calls(vonage: Vonage, client: VonageClient) -> None:
    vonage.answer(200, {}, times=3)
    assert await client.fetch_open_calls() == []


async def test_redirect_is_a_transfer_as_the_official_sdk_sends_it(
    vonage: Vonage, client: VonageClient
) -> None:
    url = "https://voice.example.test/telephony/vonage/continue/c1"
    vonage.answer(204)
    await client.redirect(CALL_UUID, url)
    notify = Notify(payload={"call_uuid": CALL_UUID}, eventUrl=[url], eventMethod="POST")
    assert_same_request(
        vonage.requests[0], lambda sdk: Voice(sdk).transfer_call_ncco(CALL_UUID, [notify]), None
    )
    captured = CONTROL["transfer ncco"]["body"]
    sent = json.loads(vonage.requests[0].content)
    captured["destination"]["ncco"] = sent["destination"]["ncco"]
    assert sent == captured


async def test_redirecting_a_call_that_is_over_is_told(
    vonage: Vonage, client: VonageClient
) -> None:
    vonage.answer(404, {"type": "https://developer.nexmo.com/api-errors#not-found"})
    with pytest.raises(CarrierRejected) as caught:
        await client.redirect(CALL_UUID, "https://voice.example.test/")
    assert (caught.value.status, caught.value.carrier_code) == (404, "not-found")


async def test_keys_are_pressed_as_the_official_sdk_does(
    vonage: Vonage, client: VonageClient
) -> None:
    reply = CONTROL["dtmf"]["response"]
    vonage.answer(200, reply)
    await client.press_keys(CALL_UUID, "1713")
    assert_same_request(
        vonage.requests[0], lambda sdk: Voice(sdk).play_dtmf_into_call(CALL_UUID, "1713"), reply
    )


APPLICATION = {
    "id": APPLICATION_ID,
    "name": "Trunkline",
    "capabilities": {
        "voice": {
            "webhooks": {"answer_url": {"address": "https://a/", "http_method": "POST"}},
            "signed_callbacks": True,
        }
    },
}


async def test_fetch_number_is_what_the_official_sdk_sends(
    vonage: Vonage, client: VonageClient
) -> None:
    numbers = {
        "count": 2,
        "numbers": [
            {"country": "GB", "msisdn": "4420794600001"},
            {"country": "GB", "msisdn": "442079460000", "app_id": APPLICATION_ID},
        ],
    }
    vonage.answer(200, numbers)
    vonage.answer(200, APPLICATION)

    found = await client.fetch_number(NUMBER)

    assert found is not None
    assert (found.number_id, found.voice_url, found.voice_method) == (
        *("442079460000", "https://a/"),
        "POST",
    )
    basic = base64.b64encode(b"a1b2c3d4:api-secret").decode()
    assert {request.headers["authorization"] for request in vonage.requests} == {f"Basic {basic}"}
    filters = ListOwnedNumbersFilter(pattern="442079460000", search_pattern=0, size=100)
    assert_same_request(
        vonage.requests[0],
        lambda sdk: Numbers(sdk).list_owned_numbers(filters),
        {"count": 0, "numbers": []},
    )
    assert_same_request(
        vonage.requests[1],
        lambda sdk: Application(sdk).get_application(APPLICATION_ID),
        APPLICATION,
    )


async def test_a_number_without_an_application_and_one_of_somebody_else(
    vonage: Vonage, client: VonageClient
) -> None:
    vonage.answer(200, {"count": 1, "numbers": [{"msisdn": "442079460000"}]}, times=2)
    found = await client.fetch_number(NUMBER)
    assert found is not None
    assert (found.voice_url, found.voice_method) == (None, None)
    assert await client.fetch_number("+447700900000") is None


async def test_an_application_without_voice(vonage: Vonage, client: VonageClient) -> None:
    vonage.answer(200, {"numbers": [{"msisdn": 442079460000, "app_id": "x/y"}]})
    vonage.answer(200, {"capabilities": {}})
    found = await client.fetch_number(NUMBER)
    assert found is not None
    assert found.voice_url is None
    assert vonage.requests[1].url.raw_path == b"/v2/applications/x%2Fy"


async def test_numbers_need_the_api_secret(vonage: Vonage, http: httpx.AsyncClient) -> None:
    account = ACCOUNT.model_copy(update={"api_secret": None})
    with pytest.raises(CarrierRejected, match="VONAGE_API_SECRET"):
        await VonageClient(account, http).fetch_number(NUMBER)
    assert vonage.requests == []


@pytest.mark.parametrize(
    ("fields", "host"),
    [({"region": "us-2"}, "api-us-2.nexmo.com"), ({"api_base": "http://127.0.0.1:9"}, "127.0.0.1")],
)
async def test_where_requests_go(
    vonage: Vonage, http: httpx.AsyncClient, fields: dict[str, str], host: str
) -> None:
    vonage.answer(200, page())
    await new_client(ACCOUNT.model_copy(update=fields), http).check_credentials()
    assert vonage.requests[0].url.host == host


def test_a_client_needs_credentials() -> None:
    with pytest.raises(ConfigError):
        new_client(VonageAccount(), httpx.AsyncClient())


# What may go wrong with one request: the failure, the error it becomes, and whether a dial that
# ended so may be repeated.
FAILURES = [
    (httpx.ConnectError("refused"), CarrierUnavailable, True),
    (httpx.ConnectTimeout("slow"), CarrierUnavailable, True),
    (httpx.PoolTimeout("full"), CarrierUnavailable, True),
    (httpx.ReadTimeout("slow"), CarrierTimeout, False),
    (httpx.WriteTimeout("slow"), CarrierTimeout, False),
    (httpx.ReadError("reset"), CarrierUnavailable, False),
    (httpx.RemoteProtocolError("cut"), CarrierUnavailable, False),
    (500, CarrierUnavailable, False),
    (503, CarrierUnavailable, False),
    (429, CarrierBusy, True),
    (302, CarrierRejected, False),
    (400, CarrierRejected, False),
    (401, CarrierRejected, False),
    (402, CarrierRejected, False),
    (403, CarrierRejected, False),
    (418, CarrierRejected, False),
]


@pytest.mark.parametrize(("failure", "expected", "retryable"), FAILURES)
async def test_a_dial_is_sent_once_whatever_happens(
    vonage: Vonage,
    client: VonageClient,
    failure: Exception | int,
    expected: type[CarrierError],
    retryable: bool,
) -> None:
    if isinstance(failure, int):
        vonage.answer(failure, {"type": "X", "detail": "447700900000 is bad"})
    else:
        vonage.fail(failure)
    with pytest.raises(expected) as caught:
        await client.place_call(order())
    assert type(caught.value) is expected
    assert caught.value.retryable is retryable
    assert "447700900000" not in str(caught.value)
    assert len(vonage.requests) == 1


@pytest.mark.parametrize("body", [b"", b"[]", b"<html>", b'{"uuid":""}', b'{"status":"started"}'])
async def test_a_dial_whose_answer_cannot_be_read_may_have_dialled(
    vonage: Vonage, client: VonageClient, body: bytes
) -> None:
    vonage.answers.append(lambda _: httpx.Response(201, content=body))
    with pytest.raises(CarrierUnavailable) as caught:
        await client.place_call(order())
    assert not caught.value.retryable


@pytest.mark.parametrize("failure", [httpx.ReadTimeout("slow"), httpx.ConnectError("x"), 500, 429])
async def test_reading_and_hanging_up_are_repeated(
    vonage: Vonage, client: VonageClient, failure: Exception | int
) -> None:
    for final in (200, 204):
        if isinstance(failure, int):
            vonage.answer(failure, times=2)
        else:
            vonage.fail(failure, times=2)
        vonage.answer(final, call_reply() if final == 200 else None)
    assert await client.fetch_call(CALL_UUID) is not None
    await client.hang_up(CALL_UUID)
    assert len(vonage.requests) == 6


async def test_repeating_ends(vonage: Vonage, client: VonageClient) -> None:
    vonage.answer(503, times=4)
    with pytest.raises(CarrierUnavailable):
        await client.check_credentials()


@pytest.mark.parametrize("verb", ["redirect", "press_keys"])
async def test_what_would_be_done_twice_is_sent_once(
    vonage: Vonage, client: VonageClient, verb: str
) -> None:
    vonage.fail(httpx.ReadTimeout("slow"))
    with pytest.raises(CarrierTimeout):
        await getattr(client, verb)(CALL_UUID, "1")
    assert len(vonage.requests) == 1


async def test_a_refusal_is_not_repeated(vonage: Vonage, client: VonageClient) -> None:
    vonage.answer(403, {"type": None})
    with pytest.raises(CarrierRejected, match="may not"):
        await client.check_credentials()


async def test_a_peer_that_never_ends_its_answer_is_given_up() -> None:
    never = asyncio.Event()

    async def hang(_: httpx.Request) -> httpx.Response:
        await never.wait()
        raise AssertionError("nobody sets it")

    async with httpx.AsyncClient(transport=httpx.MockTransport(hang)) as http:
        client = VonageClient(ACCOUNT, http, request_timeout_s=0.01)
        with pytest.raises(CarrierTimeout):
            await client.place_call(order())
