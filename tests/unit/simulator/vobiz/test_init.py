from __future__ import annotations

from trunkline.carriers.vobiz.account import VobizAccount
from trunkline.simulator import get
from trunkline.simulator.vobiz import RULES, SIMULATOR


def test_it_is_found_by_name() -> None:
    assert get("vobiz") is SIMULATOR
    assert SIMULATOR.name == RULES.name == "vobiz"


def test_a_made_up_account_is_complete() -> None:
    account = RULES.made_up()
    assert isinstance(account, VobizAccount)
    assert account.missing() == []
    assert account != RULES.made_up()
