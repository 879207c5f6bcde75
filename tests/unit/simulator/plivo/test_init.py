from __future__ import annotations

from trunkline.carriers.plivo.account import PlivoAccount
from trunkline.simulator import get
from trunkline.simulator.plivo import RULES, SIMULATOR


def test_it_is_found_by_name() -> None:
    assert get("plivo") is SIMULATOR
    assert SIMULATOR.name == RULES.name == "plivo"


def test_a_made_up_account_is_complete() -> None:
    account = RULES.made_up()
    assert isinstance(account, PlivoAccount)
    assert account.missing() == []
    assert account != RULES.made_up()
