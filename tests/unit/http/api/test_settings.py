from __future__ import annotations

import httpx

from tests.support.front import AUTH_TOKEN, KEYS, FrontWorld
from tests.support.stores import admitted
from trunkline.store import Role

SETTINGS = "/api/settings/telephony"
NEW_TOKEN = "fedcba9876543210fedcba9876543210"


async def put(admin: httpx.AsyncClient, **change: object) -> httpx.Response:
    return await admin.put(SETTINGS, json=change)


async def test_each_part_changes_alone(admin: httpx.AsyncClient) -> None:
    answer = await put(admin, providers={"twilio": {"max_concurrent_calls": 3}})
    assert answer.status_code == 200
    assert answer.json()["providers"]["twilio"]["max_concurrent_calls"] == 3
    answer = await put(admin, provider="twilio")
    assert answer.json()["provider"] == "twilio"
    assert answer.json()["providers"]["twilio"]["max_concurrent_calls"] == 3
    answer = await put(admin, providers={"twilio": {"auth_token": NEW_TOKEN}})
    assert answer.json()["providers"]["twilio"]["configured"]["auth_token"] == "stored"
    answer = await put(
        admin,
        provider=None,
        providers={"twilio": {"auth_token": None, "max_concurrent_calls": None}},
    )
    twilio = answer.json()["providers"]["twilio"]
    assert twilio["configured"]["auth_token"] == "environment"
    assert twilio["max_concurrent_calls"] == 10
    assert (await admin.get(SETTINGS)).json() == answer.json()


async def test_what_is_unknown_changes_nothing(admin: httpx.AsyncClient, world: FrontWorld) -> None:
    limit = {"max_concurrent_calls": 3}
    for change, status in (
        ({"provider": "acme", "providers": {"twilio": limit}}, 404),
        ({"providers": {"acme": {}, "twilio": limit}}, 404),
        ({"providers": {"twilio": {"password": "x"}}}, 422),
        ({"providers": {"twilio": {"auth_token": 5}}}, 422),
        ({"providers": {"twilio": {"auth_token": {"a": 1}}}}, 422),
        ({"providers": {"twilio": {"max_concurrent_calls": 0}}}, 422),
        ({"providers": {"twilio": {"account_sid": "nonsense"}}}, 422),
        ({"limit": 3}, 422),
    ):
        answer = await admin.put(SETTINGS, json=change)
        assert answer.status_code == status, change
    assert await world.store.fetch_carrier_settings() == []


async def test_the_limit_counts_from_the_next_call_on(
    admin: httpx.AsyncClient, world: FrontWorld
) -> None:
    await world.agent()
    await admitted(world.store, "carrier:twilio", carrier="twilio")
    await put(admin, providers={"twilio": {"max_concurrent_calls": 1}})
    order = {"agent_name": "front-desk", "to_number": "+14155550100"}
    answer = await admin.post("/api/calls/outbound", json=order)
    assert answer.status_code == 429
    await put(admin, providers={"twilio": {"max_concurrent_calls": 2}})
    assert (await admin.post("/api/calls/outbound", json=order)).status_code == 201


async def test_no_answer_shows_a_credential(admin: httpx.AsyncClient, world: FrontWorld) -> None:
    await world.agent()
    shown = [(await put(admin, providers={"twilio": {"auth_token": NEW_TOKEN}})).text]
    refused = {"auth_token": NEW_TOKEN, "account_sid": NEW_TOKEN}
    shown.append((await put(admin, providers={"twilio": refused})).text)
    shown.append((await put(admin, providers={"twilio": {"auth_token": [NEW_TOKEN]}})).text)
    call = await admitted(world.store, carrier="twilio", carrier_call_id="CA1")
    for path in (
        SETTINGS,
        "/api/providers",
        "/api/agents",
        "/api/agents/front-desk",
        "/api/calls",
        f"/api/calls/{call.id}",
        f"/api/calls/{call.id}/transcript",
        "/metrics",
        "/readyz",
        "/openapi.json",
    ):
        shown.append((await admin.get(path)).text)
    for secret in (NEW_TOKEN, AUTH_TOKEN, KEYS[Role.ADMIN]):
        assert [text for text in shown if secret in text] == []


async def test_providers_say_what_they_can_and_what_to_paste(
    admin: httpx.AsyncClient, world: FrontWorld
) -> None:
    await admitted(world.store, "carrier:twilio")
    twilio, *_ = (await admin.get("/api/providers")).json()
    assert (twilio["name"], twilio["ready"], twilio["in_use"]) == ("twilio", True, 1)
    assert twilio["features"]["marks"] is True
    assert twilio["features"]["sent_encodings"] == ["PCMU"]
    assert twilio["console"] == {
        "voice_url": "https://voice.example.com/telephony/twilio/inbound/AGENT",
        "status_callback": "https://voice.example.com/telephony/twilio/events/_",
        "static_stream_url": "wss://voice.example.com/ws/twilio/AGENT",
    }
    world.environment.clear()
    twilio, *_ = (await admin.get("/api/providers")).json()
    assert twilio["missing"] == ["TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN"]
    assert twilio["ready"] is False
