from __future__ import annotations

import pytest
from pydantic import ValidationError

from trunkline.carriers.plivo.account import PlivoAccount

AUTH_ID = "MAXXXXXXXXXXXXXXXXXX"


def account(**fields: object) -> PlivoAccount:
    return PlivoAccount.model_validate(fields)


def test_environment_names() -> None:
    assert PlivoAccount.environment() == {
        field: f"PLIVO_{field.upper()}" for field in PlivoAccount.model_fields
    }
    assert account().missing() == ["PLIVO_AUTH_ID", "PLIVO_AUTH_TOKEN"]


def test_where_the_api_is() -> None:
    assert account().rest_base_url == "https://api.plivo.com/v1"


@pytest.mark.parametrize(
    "auth_id", ["AC" + "X" * 18, "MAXX", AUTH_ID.lower(), AUTH_ID + "X", "MA_1"]
)
def test_ids_that_are_none(auth_id: str) -> None:
    with pytest.raises(ValidationError, match="18 capitals or digits"):
        account(auth_id=auth_id)


def test_what_is_not_confirmed_is_off() -> None:
    holder = account(auth_id=AUTH_ID, auth_token="t")
    assert (holder.accept_v2_signature, holder.require_upgrade_signature) == (False, False)
    holder = account(accept_v2_signature="true", require_upgrade_signature="1")
    assert (holder.accept_v2_signature, holder.require_upgrade_signature) == (True, True)
    with pytest.raises(ValidationError):
        account(accept_v2_signature="perhaps")
