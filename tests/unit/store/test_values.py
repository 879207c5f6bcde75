from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.stores import NOON, make_call
from trunkline.errors import InvalidRequest
from trunkline.store.values import as_stored, check_text, check_time, copy_json, dump_json

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(st.text())
def test_text_is_returned_or_refused(text: str) -> None:
    try:
        assert check_text(text) is text
    except InvalidRequest:
        assert "\0" in text


@pytest.mark.parametrize("text", ["\0", "a\0b", "\ud800", "a\udfff"])
def test_text_that_no_database_holds(text: str) -> None:
    with pytest.raises(InvalidRequest):
        check_text(text)


def test_times_become_utc() -> None:
    time = datetime(2026, 1, 1, 2, tzinfo=timezone(timedelta(hours=2)))

    assert check_time(time) == time
    assert check_time(time).tzinfo is UTC
    with pytest.raises(ValueError, match="time zone"):
        check_time(time.replace(tzinfo=None))


@given(JSON)
def test_json_survives(value: object) -> None:
    assert copy_json(value) == value


def test_a_copy_shares_nothing() -> None:
    inner = [1]
    copied = copy_json({"inner": inner, "pair": (1, 2)})

    inner.append(2)

    assert copied == {"inner": [1], "pair": [1, 2]}


def test_any_mapping_is_an_object() -> None:
    assert dump_json(MappingProxyType({"a": MappingProxyType({})})) == '{"a": {}}'


@pytest.mark.parametrize("value", [float("nan"), [float("inf")], float("-inf")])
def test_numbers_that_json_lacks(value: object) -> None:
    with pytest.raises(ValueError, match="JSON"):
        dump_json(value)


@pytest.mark.parametrize("value", [object(), b"bytes", {1, 2}, datetime(2026, 1, 1, tzinfo=UTC)])
def test_what_is_not_json(value: object) -> None:
    with pytest.raises(TypeError, match="is not JSON"):
        dump_json(value)


def test_a_record_as_stored_shares_nothing_and_is_in_utc() -> None:
    body = {"pair": (1, 2)}
    tokyo = timezone(timedelta(hours=9))

    call = as_stored(make_call(body=body, answered_at=NOON.astimezone(tokyo)))

    body.clear()
    assert call.body == {"pair": [1, 2]}
    assert call.answered_at == NOON
    assert call.answered_at.tzinfo is UTC


def test_a_record_that_cannot_be_stored() -> None:
    with pytest.raises(InvalidRequest):
        as_stored(make_call(error="\0"))
    with pytest.raises(TypeError):
        as_stored(make_call(body=object()))
