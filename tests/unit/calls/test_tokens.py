from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.calls.tokens import StreamTokens
from trunkline.errors import TokenError

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
TOKENS = StreamTokens(b"k" * 32)
CALL = "4f4f6f0e-0000-4000-8000-000000000001"


def mint(tokens: StreamTokens = TOKENS, *, ttl_s: int = 60) -> str:
    return tokens.mint(
        carrier="acme", agent_name="front-desk", call_id=CALL, created_at=NOON, ttl_s=ttl_s
    )


def check(
    token: str, *, carrier: str = "acme", agent: str = "front-desk", now: datetime = NOON
) -> str:
    return TOKENS.check(token, carrier=carrier, agent_name=agent, now=now)


def test_a_token_stands_for_its_call_until_it_expires() -> None:
    assert check(mint(), now=NOON + timedelta(seconds=60)) == CALL
    with pytest.raises(TokenError, match="expired"):
        check(mint(), now=NOON + timedelta(seconds=61))


def test_the_same_call_has_the_same_token() -> None:
    assert mint() == mint()


@pytest.mark.parametrize("where", [{"carrier": "other"}, {"agent": "back-office"}])
def test_a_token_is_good_for_one_carrier_and_one_agent(where: dict[str, str]) -> None:
    with pytest.raises(TokenError, match="forged"):
        check(mint(), **where)


def test_another_installation_s_token_is_forged() -> None:
    with pytest.raises(TokenError, match="forged"):
        check(mint(StreamTokens(b"other" * 8)))


def test_a_longer_life_cannot_be_written_in() -> None:
    call_id, expiry, signature = mint().split(".")
    with pytest.raises(TokenError, match="forged"):
        check(f"{call_id}.{int(expiry) + 3600}.{signature}")


@given(st.text(max_size=200))
def test_any_other_text_is_refused(token: str) -> None:
    with pytest.raises(TokenError):
        check(token)


@given(st.integers(min_value=0), st.characters())
def test_no_single_character_may_change(position: int, character: str) -> None:
    token = mint()
    at = position % len(token)
    changed = token[:at] + character + token[at + 1 :]
    if changed != token:
        with pytest.raises(TokenError):
            check(changed)
