from __future__ import annotations

from xml.etree import ElementTree

import httpx
import pytest

from tests.support.front import (
    ACCOUNT_SID,
    BASE_URL,
    CALL_SID,
    FrontWorld,
    app_of,
    client_of,
    open_world,
    post_signed,
    signature,
    voice_fields,
)
from tests.support.stores import admitted
from trunkline.store import CallFilter, CallRecord
from trunkline.telephony.call import CallState, Direction

INBOUND = "/telephony/twilio/inbound/front-desk"


async def dialled(world: FrontWorld, **changes: object) -> CallRecord:
    values = {
        "carrier": "twilio",
        "account_id": ACCOUNT_SID,
        "carrier_call_id": CALL_SID,
        "direction": Direction.OUTBOUND,
        "state": CallState.QUEUED,
        "created_at": world.clock.now,
        **changes,
    }
    return await admitted(world.store, "carrier:twilio", **values)


def verbs(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/xml"
    return [verb.tag for verb in ElementTree.fromstring(answer.content)]  # noqa: S314 - our own


async def calls(world: FrontWorld) -> int:
    return len((await world.store.fetch_calls(CallFilter(), limit=100)).calls)


async def test_a_signed_webhook_is_answered_with_markup(
    world: FrontWorld, anyone: httpx.AsyncClient
) -> None:
    await world.agent()
    answer = await post_signed(anyone, INBOUND, voice_fields())
    assert verbs(answer) == ["Connect", "Redirect"]
    again = await post_signed(anyone, INBOUND, voice_fields())
    assert again.content == answer.content
    assert await world.slots() == 1


async def test_a_get_is_a_webhook_as_well(world: FrontWorld, anyone: httpx.AsyncClient) -> None:
    await world.agent()
    query = str(httpx.QueryParams(voice_fields()))
    headers = {"X-Twilio-Signature": signature(f"{BASE_URL}{INBOUND}?{query}")}
    assert verbs(await anyone.get(f"{INBOUND}?{query}", headers=headers)) == ["Connect", "Redirect"]


async def test_the_query_was_signed_byte_for_byte(
    world: FrontWorld, anyone: httpx.AsyncClient
) -> None:
    await world.agent()
    path = INBOUND + "?b=1&a=%7E%20x&b=2"
    assert verbs(await post_signed(anyone, path, voice_fields())) == ["Connect", "Redirect"]


async def test_the_public_url_is_what_was_signed_whatever_the_proxy_says(
    world: FrontWorld,
) -> None:
    await world.agent()
    fields = voice_fields()
    headers = {"X-Twilio-Signature": signature(BASE_URL + INBOUND, fields)}
    async with client_of(app_of(world), base_url="http://10.0.0.7:8000") as behind:
        assert verbs(await behind.post(INBOUND, data=fields, headers=headers))
        lie = {**headers, "X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "http"}
        assert verbs(await behind.post(INBOUND, data=fields, headers=lie))


@pytest.mark.parametrize("path", ["inbound/front-desk", "answer/x", "events/x", "continue/x"])
@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({}, 401, "missing_proof"),
        ({"X-Twilio-Signature": "forged"}, 403, "invalid_signature"),
        ({"X-Twilio-Signature": signature("https://other.example/")}, 403, "invalid_signature"),
    ],
)
async def test_without_the_carrier_s_proof_nothing_happens(
    world: FrontWorld,
    anyone: httpx.AsyncClient,
    path: str,
    headers: dict[str, str],
    status: int,
    code: str,
) -> None:
    await world.agent()
    answer = await anyone.post(f"/telephony/twilio/{path}", data=voice_fields(), headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert await calls(world) == 0


async def test_another_account_s_webhook_is_refused(
    world: FrontWorld, anyone: httpx.AsyncClient
) -> None:
    await world.agent()
    answer = await post_signed(anyone, INBOUND, voice_fields(AccountSid="AC" + "9" * 32))
    assert answer.status_code == 403


async def test_without_credentials_no_webhook_is_believed(
    world: FrontWorld, anyone: httpx.AsyncClient
) -> None:
    world.environment.clear()
    assert (await post_signed(anyone, INBOUND, voice_fields())).status_code == 403


async def test_unknown_carriers_agents_and_calls(
    world: FrontWorld, anyone: httpx.AsyncClient
) -> None:
    for path, code in (
        ("/telephony/acme/inbound/front-desk", "unknown_carrier"),
        (INBOUND, "unknown_agent"),
        ("/telephony/twilio/answer/nobody", "unknown_call"),
        ("/telephony/twilio/events/nobody", "unknown_call"),
        ("/telephony/twilio/events/_", "unknown_call"),
        ("/telephony/twilio/continue/nobody", "unknown_call"),
    ):
        answer = await post_signed(anyone, path, voice_fields())
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, code)


async def test_a_malformed_form(world: FrontWorld, anyone: httpx.AsyncClient) -> None:
    await world.agent()
    answer = await post_signed(anyone, INBOUND, {"CallSid": "nonsense", "AccountSid": ACCOUNT_SID})
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_request")
    body = b"CallSid=%ff%fe"
    answer = await anyone.post(
        INBOUND,
        content=body,
        headers={
            "X-Twilio-Signature": signature(BASE_URL + INBOUND),
            "Content-Type": "application/x-www-form-urlencoded",
        },
    )
    assert answer.status_code == 403


async def test_a_body_that_is_too_large(anyone: httpx.AsyncClient) -> None:
    answer = await anyone.post(INBOUND, content=b"x" * 300_000)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "body_too_large")


async def test_an_answered_call_fetches_its_markup(
    world: FrontWorld, anyone: httpx.AsyncClient
) -> None:
    await world.agent()
    call = await dialled(world, body={"customer": "Ada"})
    path = f"/telephony/twilio/answer/{call.id}"
    answer = await post_signed(anyone, path, voice_fields(Direction="outbound-api"))
    assert verbs(answer) == ["Connect", "Redirect"]
    assert b'name="customer" value="Ada"' in answer.content
    assert b"twilio_call_sid" not in answer.content
    await world.store.change_call(call.id, {"state": CallState.CANCELED})
    assert verbs(await post_signed(anyone, path, voice_fields())) == ["Hangup"]


@pytest.mark.parametrize("route", ["answer", "events", "continue"])
async def test_a_report_about_another_call_than_its_url_names(
    world: FrontWorld, anyone: httpx.AsyncClient, route: str
) -> None:
    call = await dialled(world)
    fields = voice_fields(CallSid="CA" + "9" * 32)
    answer = await post_signed(anyone, f"/telephony/twilio/{route}/{call.id}", fields)
    assert answer.status_code == 403
    assert (await world.call(call.id)).state is CallState.QUEUED


async def test_status_callbacks_move_the_call(world: FrontWorld, anyone: httpx.AsyncClient) -> None:
    call = await dialled(world)
    path = f"/telephony/twilio/events/{call.id}"
    for sequence, status in enumerate(["initiated", "ringing", "in-progress", "completed"]):
        fields = voice_fields(CallStatus=status, SequenceNumber=str(sequence))
        assert verbs(await post_signed(anyone, path, fields)) == []
    assert (await world.call(call.id)).state is CallState.COMPLETED
    assert await world.slots() == 0


async def test_a_console_s_callback_url_finds_the_call_by_the_carrier_s_id(
    world: FrontWorld, anyone: httpx.AsyncClient
) -> None:
    call = await dialled(world, direction=Direction.INBOUND, state=CallState.RINGING)
    fields = voice_fields(CallStatus="completed")
    assert verbs(await post_signed(anyone, "/telephony/twilio/events/_", fields)) == []
    assert (await world.call(call.id)).state is CallState.COMPLETED


async def test_a_call_whose_stream_has_ended_is_hung_up(
    world: FrontWorld, anyone: httpx.AsyncClient
) -> None:
    call = await dialled(world)
    path = f"/telephony/twilio/continue/{call.id}"
    assert verbs(await post_signed(anyone, path, voice_fields())) == ["Hangup"]


async def test_without_a_public_url_carriers_are_on_this_machine(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    async with open_world(tmp_path_factory.mktemp("r"), is_configured=False) as world:
        await world.agent()
        fields = voice_fields()
        headers = {"X-Twilio-Signature": signature(BASE_URL + INBOUND, fields)}
        async with client_of(app_of(world), base_url="http://127.0.0.1:8000") as local:
            assert verbs(await local.post(INBOUND, data=fields, headers=headers))
        async with client_of(app_of(world), base_url="https://abc.ngrok.app") as tunnelled:
            answer = await tunnelled.post(INBOUND, data=fields, headers=headers)
        assert answer.status_code == 422
        assert answer.json()["error"]["details"] == {"field": "PUBLIC_BASE_URL"}
