from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.stores import NOON, admitted, make_call
from trunkline.errors import InvalidRequest
from trunkline.store import CallFilter, CallRecord, Store
from trunkline.store.cursors import CallPosition, check_limit, decode_cursor, encode_cursor


@given(
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=36),
    st.timedeltas(timedelta(days=-9999), timedelta(days=9999)),
)
def test_a_cursor_says_where_its_page_ended(call_id: str, offset: timedelta) -> None:
    call = make_call(id=call_id, created_at=NOON + offset)

    position = decode_cursor(encode_cursor(call))

    assert position == CallPosition(created_at=call.created_at, call_id=call_id)


def test_a_cursor_can_stand_in_a_url() -> None:
    cursor = encode_cursor(make_call(id="\u00ff" * 30))

    assert cursor.replace("-", "a").replace("_", "a").isalnum()


@given(st.text() | st.text(st.characters(codec="ascii")))
def test_any_text_is_a_cursor_or_refused(text: str) -> None:
    try:
        position = decode_cursor(text)
    except InvalidRequest:
        return
    assert position.created_at.utcoffset() == timedelta(0)


def test_limits() -> None:
    assert check_limit(1) == 1
    with pytest.raises(InvalidRequest):
        check_limit(0)


async def read_pages(store: Store, where: CallFilter, limit: int) -> list[Sequence[CallRecord]]:
    pages: list[Sequence[CallRecord]] = []
    cursor: str | None = None
    while True:
        page = await store.fetch_calls(where, limit=limit, cursor=cursor)
        pages.append(page.calls)
        cursor = page.next_cursor
        if cursor is None:
            return pages


# The store stays over the examples, so each one has an agent of its own.
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seconds=st.lists(st.integers(0, 4), max_size=12), limit=st.integers(1, 5))
async def test_pages_together_are_all_calls_once_newest_first(
    store: Store, seconds: list[int], limit: int
) -> None:
    """Also when many calls were made in the same moment."""
    agent_name = uuid.uuid4().hex
    calls = [
        await admitted(store, agent_name=agent_name, created_at=NOON + timedelta(seconds=second))
        for second in seconds
    ]

    pages = await read_pages(store, CallFilter(agent_name=agent_name), limit)

    read = [call for page in pages for call in page]
    assert read == sorted(calls, key=lambda call: (call.created_at, call.id), reverse=True)
    assert all(len(page) == limit for page in pages[:-1])
    assert pages[-1] or not calls
