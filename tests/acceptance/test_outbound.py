"""Calls that the API places, over the simulated Twilio's REST."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.acceptance.agents import BODY_BOT, bot_file, read_json, talker
from tests.support.server import World
from trunkline.simulator.callee import Callee, Outcome
from trunkline.simulator.twilio.rest import RestFault

pytestmark = pytest.mark.asyncio(loop_scope="module")

ADA = "+14155550177"
BODY = {
    "customer": {"name": "Ada", "tags": ["a", "b"]},
    "order": 42,
    "vip": True,
    "note": "x" * 700,
}


async def dial(world: World, agent: str, **fields: object) -> dict[str, object]:
    answer = await world.server.api.post(
        "/api/calls/outbound", json={"agent_name": agent, "to_number": ADA, **fields}
    )
    assert answer.status_code == 201, answer.text
    return answer.json()


def dials(world: World) -> list[object]:
    return [
        request
        for request in world.twilio.rest_requests
        if request.method == "POST" and request.path.endswith("/Calls.json")
    ]


async def test_the_body_reaches_the_bot_whole_and_the_markup_what_fits(
    world: World, tmp_path: Path
) -> None:
    await world.server.create_agent("body", **bot_file(tmp_path, "body_bot", BODY_BOT))
    placed = await dial(world, "body", body=BODY)
    report = await world.twilio.placed(str(placed["carrier_call_id"]))
    assert report.status == "completed"
    call = await world.server.closed_call("body")
    assert (call["direction"], call["ended_by"]) == ("outbound", "bot")
    seen = read_json(tmp_path / "body_bot.json")
    assert seen["body"] == BODY
    assert seen["session_id"] == call["id"]
    parameters = seen["parameters"]
    assert parameters["order"] == "42"
    assert parameters["vip"] == "true"
    assert parameters["to_number"] == ADA
    assert parameters["direction"] == "outbound"
    assert "note" not in parameters
    assert "customer" not in parameters


async def test_nobody_answers(world: World) -> None:
    await world.server.create_agent("unanswered", **talker())
    for number, outcome, reason in (
        ("+14155550181", Outcome.BUSY, "busy"),
        ("+14155550182", Outcome.NO_ANSWER, "no_answer"),
        ("+14155550183", Outcome.FAILED, "carrier_failed"),
    ):
        world.twilio.callees[number] = Callee(outcome=outcome)
        answer = await world.server.api.post(
            "/api/calls/outbound", json={"agent_name": "unanswered", "to_number": number}
        )
        call_id = answer.json()["id"]
        await world.twilio.placed(answer.json()["carrier_call_id"])
        call = (await world.server.api.get(f"/api/calls/{call_id}")).json()
        assert call["end_reason"] == reason
    await world.server.all_slots_are_free()


async def test_a_repeated_request_dials_once(world: World) -> None:
    await world.server.create_agent("idempotent", **talker())
    order = {"agent_name": "idempotent", "to_number": ADA, "idempotency_key": "order-42"}
    before = len(dials(world))
    first = await world.server.api.post("/api/calls/outbound", json=order)
    second = await world.server.api.post("/api/calls/outbound", json=order)
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json()["id"] == second.json()["id"]
    ended = await world.server.api.post(f"/api/calls/{first.json()['id']}/hangup")
    assert ended.status_code == 200
    await world.server.closed_call("idempotent")
    assert len(dials(world)) == before + 1


async def test_the_api_hangs_up(world: World) -> None:
    await world.server.create_agent("api-hangup", **talker())
    placed = await dial(world, "api-hangup")
    await world.server.api.post(f"/api/calls/{placed['id']}/hangup")
    report = await world.twilio.placed(str(placed["carrier_call_id"]))
    assert report.status in ("completed", "canceled")
    call = await world.server.closed_call("api-hangup")
    assert call["ended_by"] == "api"


async def test_what_cannot_be_dialled_says_why(world: World) -> None:
    await world.server.create_agent("refused", **talker())
    api = world.server.api

    async def code(**fields: object) -> tuple[int, str]:
        order = {"agent_name": "refused", "to_number": ADA, **fields}
        answer = await api.post("/api/calls/outbound", json=order)
        return answer.status_code, answer.json()["error"]["code"]

    assert await code(to_number="4155550100") == (422, "invalid_number")
    assert await code(agent_name="nobody") == (404, "unknown_agent")
    assert await code(provider="carrier-pigeon") == (404, "unknown_carrier")
    world.twilio.rest_faults.append(RestFault(status=429))
    assert await code() == (502, "carrier_rate_limited")
    await world.server.all_slots_are_free()
    settings = {"providers": {"twilio": {"max_concurrent_calls": 1}}}
    assert (await api.put("/api/settings/telephony", json=settings)).status_code == 200
    placed = await dial(world, "refused")
    answer = await api.post("/api/calls/outbound", json={"agent_name": "refused", "to_number": ADA})
    assert answer.status_code == 429
    error = answer.json()["error"]
    assert error["code"] == "limit_reached"
    assert (error["details"]["provider"], error["details"]["limit"]) == ("twilio", 1)
    assert error["details"]["in_use"] == 1
    await api.post(f"/api/calls/{placed['id']}/hangup")
    await world.twilio.placed(str(placed["carrier_call_id"]))


async def test_an_answering_machine_is_reported(world: World) -> None:
    await world.server.create_agent("machine", **talker())
    world.twilio.callees[ADA] = Callee(answered_by="machine_start")
    placed = await dial(world, "machine", amd=True)
    loop_call = f"/api/calls/{placed['id']}"

    async def verdict() -> object:
        return (await world.server.api.get(loop_call)).json()["answered_by"]

    async with asyncio.timeout(15):
        while await verdict() != "machine":
            await asyncio.sleep(0.05)
    await world.server.api.post(f"{loop_call}/hangup")
    await world.twilio.placed(str(placed["carrier_call_id"]))
