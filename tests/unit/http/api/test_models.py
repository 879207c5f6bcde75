from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from tests.support.stores import make_call
from trunkline.http.api import models
from trunkline.store import AgentKind, AgentRecord, CallRecord, EventRecord, OverflowAction

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "model", [models.NewAgent, models.DialRequest, models.TelephonyChange, models.Agent]
)
def test_examples_are_valid(model: type[models.Agent]) -> None:
    examples = model.model_json_schema()["examples"]
    for example in examples:
        model.model_validate(example)


def test_the_call_s_example_is_one() -> None:
    schema = models.Call.model_json_schema(mode="serialization")
    assert [sorted(example) for example in schema["examples"]] == [sorted(schema["properties"])]


def test_every_field_of_an_agent_can_be_changed_or_is_the_store_s() -> None:
    kept = {"name", "kind", "revision", "created_at", "updated_at"}
    assert {field.name for field in fields(AgentRecord)} - kept == set(
        models.AgentChange.model_fields
    )


def test_a_call_shows_its_record_but_not_what_is_inside_only() -> None:
    hidden = {
        "carrier",
        "idempotency_key",
        "last_sequence",
        "recording_path",
        "hangup_pending",
        "raw",
    }
    assert {field.name for field in fields(CallRecord)} - hidden == set(
        models.Call.model_fields
    ) - {"provider", "has_recording"}
    shown = models.Call.of(make_call(recording_path="/r.wav", body={"a": [1, None]}))
    assert (shown.provider, shown.has_recording, shown.body) == ("acme", True, {"a": [1, None]})


def test_only_what_was_sent_is_changed() -> None:
    agent = AgentRecord(name="a", kind=AgentKind.MODULE, module="bot.py")
    change = models.AgentChange.model_validate(
        {"warm": None, "record": None, "overflow": {"action": "message", "message": "later"}}
    )
    found = change.apply(agent)
    assert sorted(found) == ["overflow", "warm"]
    overflow = (
        models.NewAgent(name="a", module="b.py", overflow=change.overflow).record_of().overflow
    )
    assert (overflow.action, overflow.message) == (OverflowAction.MESSAGE, "later")


def test_an_agent_is_of_one_kind() -> None:
    for given in ({}, {"module": "b.py", "pipeline": {}}):
        with pytest.raises(ValidationError):
            models.NewAgent.model_validate({"name": "a", **given})


def event(kind: str, **data: object) -> EventRecord:
    return EventRecord(id=1, call_id="c", kind=kind, at=NOON, data=data)


def test_a_turn_as_the_gateway_tells_it() -> None:
    told = event(
        "turn",
        speaker="bot",
        text="Hello there",
        heard_text="Hello",
        interrupted=True,
        started_ms=1200.7,
        ended_ms=1900,
        latency_ms=None,
        something_new=1,
    )
    turn = models.TranscriptTurn.of(told)
    assert (turn.kind, turn.speaker, turn.heard_text) == ("turn", "bot", "Hello")
    assert (turn.started_ms, turn.ended_ms, turn.latency_ms) == (1200, 1900, None)


def test_a_pressed_key_is_a_turn_of_the_caller() -> None:
    turn = models.TranscriptTurn.of(event("dtmf", digit="5", at_ms=300))
    assert (turn.kind, turn.speaker, turn.text, turn.started_ms) == ("dtmf", "caller", "5", 300)


def test_credentials_are_what_is_not_the_limit() -> None:
    change = models.ProviderChange.model_validate({"max_concurrent_calls": 3, "auth_token": "x"})
    assert change.credentials() == {"auth_token": "x"}
