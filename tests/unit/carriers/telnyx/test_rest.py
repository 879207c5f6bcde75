from __future__ import annotations

import asyncio
import base64
import json
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import stamina
import structlog
from telnyx import Telnyx as Sdk
from telnyx._utils import maybe_transform
from telnyx.types.texml.accounts.call_calls_params import BodyWithURL

from trunkline.carriers.telnyx.account import TelnyxAccount
from trunkline.carriers.telnyx.rest import (
    TelnyxCallControl,
    TelnyxClient,
    new_call_control,
    new_client,
)
from trunkline.carriers.telnyx.wire import MEDIA_PARAMETER
from trunkline.errors import (
    CarrierBusy,
    CarrierError,
    CarrierRejected,
    CarrierTimeout,
    CarrierUnavailable,
    ConfigError,
    UnsupportedByCarrier,
)
from trunkline.telephony.call import CallEvent, Direction
from trunkline.telephony.carrier import AmdMode, DialOrder, StreamConnect
from trunkline.telephony.webhook import AmdVerdict, Document

CAPTURES = Path(__file__).parents[3] / "captures" / "telnyx"
REST = {
    row["name"]: row for row in json.loads((CAPTURES / "rest.json").read_text(encoding="utf-8"))
}

API_KEY = "KEY0123"
ACCOUNT_SID = "9bb60a0d-7f6c-4b0d-9f0c-000000000001"
APPLICATION_ID = "1494404757140276705"
CALL_ID = "v3:MdI91X4lWFEs7IgbBEOT9M4AigoY08M0WWZFISt1Yw2axZ_IiE4pqg"
NUMBER = "+13125550123"
URL = "https://voice.example.test/telephony/telnyx/continue/c1"
STREAM = StreamConnect(
    stream_url="wss://voice.example.test/ws/telnyx/desk/t", parameters={"agent_name": "desk"}
)

CONTROL_FIELDS = {"api_key": API_KEY, "connection_id": APPLICATION_ID}
CONTROL_ACCOUNT = TelnyxAccount.model_validate(CONTROL_FIELDS)
TEXML_ACCOUNT = TelnyxAccount.model_validate({**CONTROL_FIELDS, "account_sid": ACCOUNT_SID})

CALL_REPLY = {"sid": CALL_ID, "status": "in-progress", "direction": "outbound"}
LEG_REPLY = REST["retrieve"]["response"]["json"]
OK = {"data": {"result": "ok"}}

Answer = Callable[[httpx.Request], httpx.Response]


class Telnyx:
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
def telnyx() -> Iterator[Telnyx]:
    peer = Telnyx()
    yield peer
    assert peer.answers == [], "an answer was not asked for"


@pytest.fixture
async def http(telnyx: Telnyx) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.MockTransport(telnyx)) as client:
        yield client


@pytest.fixture
def client(http: httpx.AsyncClient) -> TelnyxClient:
    """A client of a TeXML application."""
    return TelnyxClient(TEXML_ACCOUNT, http)


@pytest.fixture
def controlled(http: httpx.AsyncClient) -> TelnyxClient:
    """A client of a Call Control application."""
    return TelnyxClient(CONTROL_ACCOUNT, http)


@pytest.fixture
def control(http: httpx.AsyncClient) -> TelnyxCallControl:
    return TelnyxCallControl(CONTROL_ACCOUNT, http)


@pytest.fixture(autouse=True)
def no_pauses_between_attempts() -> Iterator[None]:
    with stamina.set_testing(True, attempts=4, cap=True):
        yield


def order(**changes: Any) -> DialOrder:
    fields: dict[str, Any] = {
        "call_id": "c1",
        "to_number": "+14155550100",
        "from_number": NUMBER,
        "stream": STREAM,
        "answer": Document(content_type="application/xml", body=b"<Response/>"),
        "answer_url": "https://voice.example.test/telephony/telnyx/answer/c1",
        "status_url": "https://voice.example.test/telephony/telnyx/events/c1",
    }
    return DialOrder(**{**fields, **changes})


def json_of(request: httpx.Request) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(request.content)
    return found


def official_request(use: Callable[[Sdk], object]) -> httpx.Request:
    """What the official SDK would have sent."""
    sent: list[httpx.Request] = []

    def record(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(200, json={"data": []})

    with httpx.Client(transport=httpx.MockTransport(record)) as http:
        use(Sdk(api_key=API_KEY, http_client=http, max_retries=0))
    (request,) = sent
    return request


def assert_same_request(ours: httpx.Request, official: httpx.Request) -> None:
    assert ours.method == official.method
    assert ours.url.copy_with(query=None) == official.url.copy_with(query=None)
    assert sorted(ours.url.params.multi_items()) == sorted(official.url.params.multi_items())
    assert ours.headers["authorization"] == official.headers["authorization"]
    assert (json_of(ours) if ours.content else {}) == (
        json_of(official) if official.content else {}
    )


async def test_a_texml_dial_with_everything_is_what_the_official_sdk_sends(
    telnyx: Telnyx, client: TelnyxClient
) -> None:
    telnyx.answer_as_captured("texml_dial")
    dial = order(amd=AmdMode.MESSAGE_END, ring_timeout_s=30, max_duration_s=600)

    placed = await client.place_call(dial)

    assert (placed.carrier_call_id, placed.event) == (CALL_ID, CallEvent.INITIATED)
    assert placed.raw["from"] == NUMBER
    body: BodyWithURL = {
        "application_sid": APPLICATION_ID,
        "to": dial.to_number,
        "from_": dial.from_number,
        "url": dial.answer_url,
        "url_method": "POST",
        "status_callback": dial.status_url,
        "status_callback_method": "POST",
        "status_callback_event": "initiated ringing answered completed",
        "timeout": 30,
        "time_limit": 600,
        "machine_detection": "DetectMessageEnd",
        "async_amd": True,
        "async_amd_status_callback": dial.status_url,
        "async_amd_status_callback_method": "POST",
    }
    # The SDK leaves the names of this body to its caller, so they are put on as its types say.
    official = official_request(
        lambda sdk: sdk.texml.accounts.calls.calls(
            account_sid=ACCOUNT_SID, body=maybe_transform(body, BodyWithURL)
        )
    )
    assert_same_request(telnyx.requests[0], official)


async def test_a_plain_texml_dial_is_the_captured_one(telnyx: Telnyx, client: TelnyxClient) -> None:
    telnyx.answer(200, {"sid": CALL_ID})
    placed = await client.place_call(order())
    assert (placed.carrier_call_id, placed.event) == (CALL_ID, CallEvent.INITIATED)
    sent = json_of(telnyx.requests[0])
    assert set(REST["texml_dial"]["request"]["json"]) <= set(sent)
    assert not [name for name in sent if "Amd" in name or "Detection" in name]
    assert "TimeLimit" not in sent


async def test_a_call_control_dial_is_what_the_official_sdk_sends(
    telnyx: Telnyx, controlled: TelnyxClient
) -> None:
    telnyx.answer_as_captured("dial")
    dial = order(amd=AmdMode.DETECT, max_duration_s=600)

    placed = await controlled.place_call(dial)

    assert (placed.carrier_call_id, placed.event) == (CALL_ID, CallEvent.INITIATED)
    sent = json_of(telnyx.requests[0])
    state = base64.b64encode(b'{"agent_name":"desk"}').decode()
    official = official_request(
        lambda sdk: sdk.calls.dial(
            connection_id=APPLICATION_ID,
            to=dial.to_number,
            from_=dial.from_number,
            stream_url=STREAM.stream_url,
            stream_track="inbound_track",
            stream_codec="PCMU",
            stream_bidirectional_mode="rtp",
            stream_bidirectional_codec="PCMU",
            stream_bidirectional_target_legs="self",
            client_state=state,
            command_id=sent["command_id"],
            webhook_url=dial.status_url,
            webhook_url_method="POST",
            answering_machine_detection="detect",
            timeout_secs=60,
            time_limit_secs=600,
            send_silence_when_idle=True,
        )
    )
    assert_same_request(telnyx.requests[0], official)


async def test_a_dial_of_one_call_has_one_command_id(
    telnyx: Telnyx, controlled: TelnyxClient
) -> None:
    telnyx.answer_as_captured("dial")
    telnyx.answer_as_captured("dial")
    telnyx.answer_as_captured("dial")
    for call_id in ("c1", "c1", "c2"):
        await controlled.place_call(order(call_id=call_id))
    ids = [json_of(request)["command_id"] for request in telnyx.requests]
    assert ids[0] == ids[1] != ids[2]
    assert uuid.UUID(ids[0]).version == 4


async def test_l16_is_asked_for_with_its_rate(telnyx: Telnyx, http: httpx.AsyncClient) -> None:
    account = TelnyxAccount.model_validate({**CONTROL_FIELDS, "media": "L16-little"})
    telnyx.answer_as_captured("dial")
    await new_client(account, http).place_call(order())
    sent = json_of(telnyx.requests[0])
    assert (sent["stream_codec"], sent["stream_bidirectional_codec"]) == ("L16", "L16")
    assert sent["stream_bidirectional_sampling_rate"] == 16000
    state = json.loads(base64.b64decode(sent["client_state"]))
    assert state == {"agent_name": "desk", MEDIA_PARAMETER: "L16-little"}


async def test_hang_up_is_what_the_official_sdk_sends(telnyx: Telnyx, client: TelnyxClient) -> None:
    telnyx.answer(200, OK)
    await client.hang_up(CALL_ID)
    command_id = json_of(telnyx.requests[0])["command_id"]
    official = official_request(
        lambda sdk: sdk.calls.actions.hangup(CALL_ID, command_id=command_id)
    )
    assert_same_request(telnyx.requests[0], official)


@pytest.mark.parametrize(
    ("status", "code"), [(422, "90018"), (422, 90015), (404, "10005"), (404, None)]
)
async def test_a_call_that_is_over_counts_as_hung_up(
    telnyx: Telnyx,
    controlled: TelnyxClient,
    control: TelnyxCallControl,
    status: int,
    code: object,
) -> None:
    telnyx.answer(status, {"errors": [{"code": code}]}, times=3)
    await controlled.hang_up(CALL_ID)
    await control.reject(CALL_ID)
    assert await controlled.fetch_call(CALL_ID) is None


async def test_a_command_that_is_refused_is_told(
    telnyx: Telnyx, http: httpx.AsyncClient, client: TelnyxClient, control: TelnyxCallControl
) -> None:
    controlled = TelnyxClient(CONTROL_ACCOUNT, http)
    for command in (client.hang_up, control.reject, client.fetch_call, controlled.fetch_call):
        telnyx.answer_as_captured("auth")
        with pytest.raises(CarrierRejected) as caught:
            await command(CALL_ID)
        assert (caught.value.status, caught.value.carrier_code) == (401, "10009")


async def test_fetch_call_is_what_the_official_sdk_sends(
    telnyx: Telnyx, client: TelnyxClient
) -> None:
    reply = {**CALL_REPLY, "from": NUMBER, "to": "+14155550100", "answered_by": "not_sure"}
    telnyx.answer(200, {**reply, "status": "completed", "duration": "37"})
    call = await client.fetch_call(CALL_ID)
    assert call is not None
    assert (call.carrier_call_id, call.event) == (CALL_ID, CallEvent.COMPLETED)
    assert (call.direction, call.duration_s) == (Direction.OUTBOUND, 37)
    assert call.answered_by is AmdVerdict.UNKNOWN
    assert (call.from_number, call.to_number) == (NUMBER, "+14155550100")
    official = official_request(
        lambda sdk: sdk.texml.accounts.calls.retrieve(CALL_ID, account_sid=ACCOUNT_SID)
    )
    assert_same_request(telnyx.requests[0], official)


async def test_fields_that_may_be_missing(telnyx: Telnyx, client: TelnyxClient) -> None:
    telnyx.answer(200, {"sid": "c", "status": "hovering", "duration": "x", "from": None})
    call = await client.fetch_call("c")
    assert call is not None
    assert (call.event, call.carrier_word) == (CallEvent.UNKNOWN, "hovering")
    assert (call.direction, call.duration_s) == (Direction.INBOUND, None)
    assert (call.from_number, call.to_number) == ("anonymous", "")


async def test_a_call_that_texml_does_not_know_may_be_call_controls(
    telnyx: Telnyx, client: TelnyxClient
) -> None:
    telnyx.answer(404, {"errors": [{"code": "10005"}]})
    telnyx.answer_as_captured("retrieve")
    call = await client.fetch_call(CALL_ID)
    assert call is not None
    assert (call.event, call.duration_s) == (CallEvent.ANSWERED, 12)
    official = official_request(lambda sdk: sdk.calls.retrieve_status(CALL_ID))
    assert_same_request(telnyx.requests[1], official)


@pytest.mark.parametrize(
    ("changes", "event"),
    [
        ({"is_alive": False}, CallEvent.COMPLETED),
        ({"start_time": None, "call_duration": 0}, CallEvent.RINGING),
        ({"start_time": None}, CallEvent.ANSWERED),
        ({}, CallEvent.ANSWERED),
    ],
)
async def test_what_a_leg_tells(
    telnyx: Telnyx, controlled: TelnyxClient, changes: dict[str, object], event: CallEvent
) -> None:
    telnyx.answer(200, {"data": {**LEG_REPLY["data"], **changes}})
    call = await controlled.fetch_call(CALL_ID)
    assert call is not None
    assert call.event is event


async def test_an_id_cannot_lead_to_another_resource(telnyx: Telnyx, client: TelnyxClient) -> None:
    telnyx.answer(404, {}, times=3)
    assert await client.fetch_call("../Queues?x=1#") is None
    await client.hang_up("../Queues?x=1#")
    paths = [request.url.raw_path.decode() for request in telnyx.requests]
    assert all("..%2FQueues%3Fx%3D1%23" in path for path in paths)


async def test_open_calls_of_texml_are_the_newest_that_live(
    telnyx: Telnyx, client: TelnyxClient
) -> None:
    words = ["ringing", "in-progress", "completed", "hovering"]
    telnyx.answer(200, {"calls": [{"sid": word, "status": word} for word in words]})
    calls = await client.fetch_open_calls()
    assert [call.carrier_call_id for call in calls] == ["ringing", "in-progress"]
    official = official_request(
        lambda sdk: sdk.texml.accounts.calls.retrieve_calls(ACCOUNT_SID, page_size=100)
    )
    assert_same_request(telnyx.requests[0], official)


async def test_open_calls_of_call_control(telnyx: Telnyx, controlled: TelnyxClient) -> None:
    telnyx.answer(200, {"data": [{"call_control_id": CALL_ID, "call_duration": 3}]})
    (call,) = await controlled.fetch_open_calls()
    assert (call.carrier_call_id, call.event) == (CALL_ID, CallEvent.ANSWERED)
    official = official_request(
        lambda sdk: sdk.connections.list_active_calls(APPLICATION_ID, page_size=100)
    )
    assert_same_request(telnyx.requests[0], official)


async def test_redirect_is_what_the_official_sdk_means(
    telnyx: Telnyx, client: TelnyxClient
) -> None:
    telnyx.answer(200, CALL_REPLY)
    await client.redirect(CALL_ID, URL)
    official = official_request(
        lambda sdk: sdk.texml.accounts.calls.update(
            CALL_ID, account_sid=ACCOUNT_SID, url=URL, method="POST"
        )
    )
    ours = telnyx.requests[0]
    assert (ours.method, ours.url) == (official.method, official.url)
    # The SDK writes a form here; the API takes JSON as well.
    assert json_of(ours) == {"Url": URL, "Method": "POST"}


async def test_call_control_has_no_markup_to_redirect_to(controlled: TelnyxClient) -> None:
    with pytest.raises(UnsupportedByCarrier):
        await controlled.redirect(CALL_ID, URL)


async def test_fetch_number_takes_the_exact_one(telnyx: Telnyx, client: TelnyxClient) -> None:
    number = {"id": "1", "phone_number": NUMBER, "connection_id": APPLICATION_ID}
    telnyx.answer(200, {"data": [{**number, "id": "0", "phone_number": NUMBER + "7"}, number]})
    telnyx.answer(200, {"data": {"voice_url": "https://a/", "voice_method": "post"}})

    found = await client.fetch_number(NUMBER)

    assert found is not None
    assert (found.number_id, found.voice_url, found.voice_method) == ("1", "https://a/", "POST")
    listed = official_request(lambda sdk: sdk.phone_numbers.list(filter={"phone_number": NUMBER}))
    assert_same_request(telnyx.requests[0], listed)
    read = official_request(lambda sdk: sdk.texml_applications.retrieve(APPLICATION_ID))
    assert_same_request(telnyx.requests[1], read)


async def test_a_number_of_a_call_control_application(telnyx: Telnyx, client: TelnyxClient) -> None:
    number = {"id": "1", "phone_number": NUMBER, "connection_id": APPLICATION_ID}
    telnyx.answer(200, {"data": [number]})
    telnyx.answer(404, {"errors": []})
    telnyx.answer(200, {"data": {"webhook_event_url": "https://a/"}})
    found = await client.fetch_number(NUMBER)
    assert found is not None
    assert (found.voice_url, found.voice_method) == ("https://a/", None)
    read = official_request(lambda sdk: sdk.call_control_applications.retrieve(APPLICATION_ID))
    assert_same_request(telnyx.requests[2], read)


async def test_numbers_that_lead_nowhere(telnyx: Telnyx, client: TelnyxClient) -> None:
    number = {"id": "1", "phone_number": NUMBER, "connection_id": None}
    telnyx.answer(200, {"data": [number]}, times=2)
    found = await client.fetch_number(NUMBER)
    assert found is not None
    assert found.voice_url is None
    assert await client.fetch_number("+14155550100") is None
    telnyx.answer(200, {"data": [{**number, "connection_id": "7"}]})
    telnyx.answer(404, {}, times=2)
    found = await client.fetch_number(NUMBER)
    assert found is not None
    assert found.voice_url is None
    telnyx.answer(200, {"data": [{**number, "connection_id": "7"}]})
    telnyx.answer_as_captured("auth")
    with pytest.raises(CarrierRejected):
        await client.fetch_number(NUMBER)


async def test_check_credentials(telnyx: Telnyx, client: TelnyxClient) -> None:
    telnyx.answer(200, {"data": []})
    await client.check_credentials()
    official = official_request(lambda sdk: sdk.phone_numbers.list(page_size=1))
    assert_same_request(telnyx.requests[0], official)
    telnyx.answer_as_captured("auth")
    with pytest.raises(CarrierRejected, match="credentials are refused"):
        await client.check_credentials()


async def test_answer_is_what_the_official_sdk_sends(
    telnyx: Telnyx, control: TelnyxCallControl
) -> None:
    telnyx.answer_as_captured("answer")
    await control.answer(CALL_ID, STREAM, events_url=order().status_url)
    sent = json_of(telnyx.requests[0])
    official = official_request(
        lambda sdk: sdk.calls.actions.answer(
            CALL_ID,
            stream_url=STREAM.stream_url,
            stream_track="inbound_track",
            stream_codec="PCMU",
            stream_bidirectional_mode="rtp",
            stream_bidirectional_codec="PCMU",
            stream_bidirectional_target_legs="self",
            client_state=sent["client_state"],
            command_id=sent["command_id"],
            webhook_url=order().status_url,
            webhook_url_method="POST",
            send_silence_when_idle=True,
        )
    )
    assert_same_request(telnyx.requests[0], official)


async def test_a_stream_on_an_answered_call(telnyx: Telnyx, control: TelnyxCallControl) -> None:
    telnyx.answer_as_captured("streaming_start")
    telnyx.answer_as_captured("streaming_start_before_answer")
    await control.start_stream(CALL_ID, STREAM)
    sent = json_of(telnyx.requests[0])
    official = official_request(
        lambda sdk: sdk.calls.actions.start_streaming(
            CALL_ID,
            stream_url=STREAM.stream_url,
            stream_track="inbound_track",
            stream_codec="PCMU",
            stream_bidirectional_mode="rtp",
            stream_bidirectional_codec="PCMU",
            stream_bidirectional_target_legs="self",
            client_state=sent["client_state"],
            command_id=sent["command_id"],
        )
    )
    assert_same_request(telnyx.requests[0], official)
    with pytest.raises(CarrierRejected, match="has not been answered"):
        await control.start_stream(CALL_ID, STREAM)


async def test_other_commands_are_what_the_official_sdk_sends(
    telnyx: Telnyx, control: TelnyxCallControl
) -> None:
    telnyx.answer(200, OK, times=4)
    await control.reject(CALL_ID)
    await control.send_dtmf(CALL_ID, "1w2#")
    await control.forward(CALL_ID, "+14155550199", caller_id=NUMBER)
    await control.forward(CALL_ID, "sip:a@b.test")
    ids = [json_of(request)["command_id"] for request in telnyx.requests]
    assert len(set(ids)) == 4
    officials = [
        official_request(
            lambda sdk: sdk.calls.actions.reject(CALL_ID, cause="USER_BUSY", command_id=ids[0])
        ),
        official_request(
            lambda sdk: sdk.calls.actions.send_dtmf(CALL_ID, digits="1w2#", command_id=ids[1])
        ),
        official_request(
            lambda sdk: sdk.calls.actions.transfer(
                CALL_ID, to="+14155550199", from_=NUMBER, command_id=ids[2]
            )
        ),
        official_request(
            lambda sdk: sdk.calls.actions.transfer(CALL_ID, to="sip:a@b.test", command_id=ids[3])
        ),
    ]
    for ours, official in zip(telnyx.requests, officials, strict=True):
        assert_same_request(ours, official)


async def test_an_answer_is_repeated_under_one_command_id(
    telnyx: Telnyx, control: TelnyxCallControl
) -> None:
    telnyx.answer(503)
    telnyx.fail(httpx.ReadTimeout("slow"))
    telnyx.answer_as_captured("answer")
    await control.answer(CALL_ID, STREAM, events_url=URL)
    assert len({json_of(request)["command_id"] for request in telnyx.requests}) == 1
    assert len(telnyx.requests) == 3


async def test_a_transfer_is_sent_once(telnyx: Telnyx, control: TelnyxCallControl) -> None:
    telnyx.answer(503)
    with pytest.raises(CarrierUnavailable):
        await control.forward(CALL_ID, NUMBER)


@pytest.mark.parametrize("make", [new_client, new_call_control])
def test_a_client_needs_credentials(make: Callable[..., object]) -> None:
    with pytest.raises(ConfigError, match="TELNYX_API_KEY"):
        make(TelnyxAccount(), httpx.AsyncClient())
    assert make(CONTROL_ACCOUNT, httpx.AsyncClient()) is not None


async def test_another_base_url(telnyx: Telnyx, http: httpx.AsyncClient) -> None:
    account = TelnyxAccount.model_validate({**CONTROL_FIELDS, "api_base": "http://127.0.0.1:9/x"})
    telnyx.answer(200, {"data": []})
    await new_client(account, http).check_credentials()
    assert str(telnyx.requests[0].url).startswith("http://127.0.0.1:9/x/v2/phone_numbers")


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


@pytest.mark.parametrize("account", [TEXML_ACCOUNT, CONTROL_ACCOUNT], ids=["texml", "control"])
@pytest.mark.parametrize(("failure", "expected", "retryable"), FAILURES, ids=repr)
async def test_a_dial_is_sent_once(
    telnyx: Telnyx,
    http: httpx.AsyncClient,
    account: TelnyxAccount,
    failure: Exception,
    expected: type[CarrierError],
    retryable: bool,
) -> None:
    telnyx.fail(failure)
    with pytest.raises(expected) as caught:
        await TelnyxClient(account, http).place_call(order())
    assert type(caught.value) is expected
    assert caught.value.retryable is retryable
    assert caught.value.operation == "place call"
    assert len(telnyx.requests) == 1


@pytest.mark.parametrize(("status", "expected", "retryable"), STATUSES)
async def test_a_dial_that_is_answered_with_an_error(
    telnyx: Telnyx,
    client: TelnyxClient,
    status: int,
    expected: type[CarrierError],
    retryable: bool,
) -> None:
    telnyx.answer(status, {"errors": []})
    with pytest.raises(expected) as caught:
        await client.place_call(order())
    assert type(caught.value) is expected
    assert caught.value.retryable is retryable
    assert len(telnyx.requests) == 1


@pytest.mark.parametrize(("failure", "expected", "_"), FAILURES, ids=repr)
async def test_reading_and_hanging_up_are_repeated(
    telnyx: Telnyx, controlled: TelnyxClient, failure: Exception, expected: object, _: object
) -> None:
    telnyx.fail(failure, times=3)
    telnyx.answer_as_captured("retrieve")
    assert await controlled.fetch_call(CALL_ID) is not None
    telnyx.fail(failure)
    telnyx.answer(503)
    telnyx.answer_as_captured("rate_limited")
    telnyx.answer_as_captured("hangup_already_ended")
    await controlled.hang_up(CALL_ID)


async def test_repeating_ends(telnyx: Telnyx, client: TelnyxClient) -> None:
    telnyx.answer(503, times=4)
    with pytest.raises(CarrierUnavailable) as caught:
        await client.hang_up(CALL_ID)
    assert caught.value.retryable
    assert len(telnyx.requests) == 4


async def test_repeating_logs_no_number(telnyx: Telnyx, client: TelnyxClient) -> None:
    telnyx.answer(503)
    telnyx.answer(200, {"data": []})
    with structlog.testing.capture_logs() as logs:
        await client.fetch_number(NUMBER)
    assert logs
    assert NUMBER not in repr(logs)


async def test_a_redirect_is_sent_once(telnyx: Telnyx, client: TelnyxClient) -> None:
    telnyx.answer(503)
    with pytest.raises(CarrierUnavailable):
        await client.redirect(CALL_ID, URL)


async def test_telnyx_s_sentences_are_not_passed_on(telnyx: Telnyx, client: TelnyxClient) -> None:
    detail = "The number +14155550100 is not valid."
    telnyx.answer(422, {"errors": [{"code": "10016", "title": "t", "detail": detail}]})
    with pytest.raises(CarrierRejected) as caught:
        await client.place_call(order())
    assert "+1415" not in f"{caught.value} {caught.value.details}"
    assert caught.value.details["carrier_code"] == "10016"
    assert str(caught.value) == (
        "telnyx place call: the number to call is not valid (Telnyx error 10016)"
    )


async def test_a_full_application(telnyx: Telnyx, client: TelnyxClient) -> None:
    telnyx.answer_as_captured("channel_limit")
    with pytest.raises(CarrierRejected, match="too many calls at once for this application"):
        await client.place_call(order())


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"errors":7}', b'{"errors":[]}'])
async def test_a_refusal_in_another_language(
    telnyx: Telnyx, client: TelnyxClient, body: bytes
) -> None:
    telnyx.answers.append(lambda _: httpx.Response(403, content=body))
    with pytest.raises(CarrierRejected) as caught:
        await client.place_call(order())
    assert (caught.value.status, caught.value.carrier_code) == (403, "")
    assert str(caught.value) == "telnyx place call: the request is refused (HTTP 403)"


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b'{"call_sid":""}', b'{"data":{}}'])
@pytest.mark.parametrize("account", [TEXML_ACCOUNT, CONTROL_ACCOUNT], ids=["texml", "control"])
async def test_a_dial_with_an_answer_that_cannot_be_read_may_have_dialled(
    telnyx: Telnyx, http: httpx.AsyncClient, account: TelnyxAccount, body: bytes
) -> None:
    telnyx.answers.append(lambda _: httpx.Response(200, content=body))
    with pytest.raises(CarrierUnavailable) as caught:
        await TelnyxClient(account, http).place_call(order())
    assert not caught.value.retryable


async def test_an_answer_that_cannot_be_read_is_not_shown(
    telnyx: Telnyx, client: TelnyxClient
) -> None:
    telnyx.answer(200, {"call_sid": 7, "from": NUMBER, "status": NUMBER})
    with pytest.raises(CarrierUnavailable) as caught:
        await client.place_call(order())
    assert NUMBER not in f"{caught.value} {caught.value.__cause__}"


async def test_a_peer_that_never_ends_its_answer() -> None:
    async def never(_: httpx.Request) -> httpx.Response:
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    async with httpx.AsyncClient(transport=httpx.MockTransport(never)) as http:
        client = TelnyxClient(TEXML_ACCOUNT, http, request_timeout_s=0.01)
        control = TelnyxCallControl(TEXML_ACCOUNT, http, request_timeout_s=0.01)
        for wait in (client.place_call(order()), client.check_credentials()):
            with pytest.raises(CarrierTimeout):
                await wait
        with pytest.raises(CarrierTimeout):
            await control.send_dtmf(CALL_ID, "1")


async def test_redirections_are_not_followed_with_our_credentials(
    telnyx: Telnyx, client: TelnyxClient
) -> None:
    telnyx.answers.append(
        lambda _: httpx.Response(302, headers={"location": "https://evil.example/"})
    )
    with pytest.raises(CarrierRejected):
        await client.fetch_call(CALL_ID)
    assert [request.url.host for request in telnyx.requests] == ["api.telnyx.com"]
