from __future__ import annotations

from dataclasses import fields

import pytest

from tests.support.stores import make_event
from trunkline.store import CallRecord
from trunkline.store.changes import OPEN_STATES, check_change
from trunkline.telephony.call import FINAL_STATES, CallState


def test_a_state_is_open_or_final() -> None:
    assert set(OPEN_STATES) | FINAL_STATES == set(CallState)
    assert not set(OPEN_STATES) & FINAL_STATES


def test_every_field_but_the_id_and_the_beginning_can_change() -> None:
    names = {field.name for field in fields(CallRecord)} - {"id", "created_at"}

    check_change("c", dict.fromkeys(names), [make_event("c")])


@pytest.mark.parametrize("name", ["id", "created_at", "", "__class__"])
def test_others_cannot(name: str) -> None:
    with pytest.raises(ValueError, match="no changeable field"):
        check_change("c", {"error": None, name: None}, [])


def test_events_belong_to_the_call() -> None:
    with pytest.raises(ValueError, match="another call"):
        check_change("c", {}, [make_event("c"), make_event("d")])
