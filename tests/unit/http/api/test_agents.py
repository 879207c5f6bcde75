from __future__ import annotations

import httpx

from tests.support.front import FrontWorld
from trunkline.errors import ConfigError, DispatchError

PIPELINE = {
    "prompt": "Be brief.",
    "stt": {"service": "offline"},
    "llm": {"service": "offline"},
    "tts": {"service": "offline"},
}


async def create(admin: httpx.AsyncClient, **fields: object) -> httpx.Response:
    return await admin.post("/api/agents", json={"name": "desk", "module": "bot.py", **fields})


async def test_an_agent_s_life(admin: httpx.AsyncClient, world: FrontWorld) -> None:
    world.dispatcher.warnings = ["it starts threads"]
    answer = await create(admin)
    assert answer.status_code == 201
    created = answer.json()
    assert (created["kind"], created["revision"], created["enabled"]) == ("module", 1, True)
    assert created["warnings"] == ["it starts threads"]
    assert [agent["name"] for agent in (await admin.get("/api/agents")).json()] == ["desk"]
    answer = await admin.patch("/api/agents/desk", json={"record": False})
    assert answer.status_code == 200
    shown = (await admin.get("/api/agents/desk")).json()
    assert (shown["record"], shown["revision"], shown["module"]) == (False, 2, "bot.py")
    assert (await admin.delete("/api/agents/desk")).status_code == 204
    assert (await admin.get("/api/agents/desk")).status_code == 404


async def test_a_pipeline_agent(admin: httpx.AsyncClient) -> None:
    answer = await create(admin, module=None, pipeline=PIPELINE)
    assert answer.status_code == 201, answer.text
    assert answer.json()["kind"] == "pipeline"
    assert answer.json()["pipeline"] == PIPELINE


async def test_what_is_wrong_with_a_pipeline_is_named(
    admin: httpx.AsyncClient, world: FrontWorld
) -> None:
    answer = await create(admin, module=None, pipeline={**PIPELINE, "promt": "x"})
    assert answer.status_code == 422
    assert answer.json()["error"]["details"] == {"field": "pipeline.promt"}
    assert world.dispatcher.prepared == []


async def test_what_does_not_load_is_refused(admin: httpx.AsyncClient, world: FrontWorld) -> None:
    world.dispatcher.failure = ConfigError("llm service openai needs OPENAI_API_KEY")
    answer = await create(admin)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "config_error")
    assert "OPENAI_API_KEY" in answer.json()["error"]["message"]
    world.dispatcher.failure = DispatchError("the pool is away")
    assert (await create(admin)).status_code == 503
    assert (await admin.get("/api/agents")).json() == []


async def test_what_cannot_be_an_agent(admin: httpx.AsyncClient) -> None:
    for fields in (
        {"name": "No Name"},
        {"module": None},
        {"pipeline": PIPELINE},
        {"max_duration_s": 1},
        {"overflow": {"action": "sing"}},
        {"overflow": {"action": "forward", "number": "12"}},
        {"nonsense": 1},
    ):
        answer = await create(admin, **fields)
        assert answer.status_code == 422, fields
    assert (await create(admin, present_as="acme")).status_code == 404


async def test_a_name_is_taken_once(admin: httpx.AsyncClient) -> None:
    await create(admin)
    answer = await create(admin)
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "conflict")


async def test_null_resets_what_may_be_null(admin: httpx.AsyncClient) -> None:
    await create(admin, max_concurrent_calls=3, warm=1)
    changed = (
        await admin.put("/api/agents/desk", json={"max_concurrent_calls": None, "record": None})
    ).json()
    assert (changed["max_concurrent_calls"], changed["warm"], changed["record"]) == (None, 1, True)


async def test_what_is_not_there(admin: httpx.AsyncClient) -> None:
    for method in ("GET", "PUT", "PATCH", "DELETE"):
        answer = await admin.request(method, "/api/agents/nobody", json={})
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_agent")
