from __future__ import annotations

import ipaddress

import pytest
from pydantic import ValidationError

from trunkline.carriers.vobiz.account import CALLBACK_NETWORKS, StreamEncoding, VobizAccount


def account(**fields: object) -> VobizAccount:
    return VobizAccount.model_validate(fields)


def test_environment_names() -> None:
    assert VobizAccount.environment() == {
        field: f"VOBIZ_{field.upper()}" for field in VobizAccount.model_fields
    }
    assert account().missing() == ["VOBIZ_AUTH_ID", "VOBIZ_AUTH_TOKEN"]


def test_where_the_api_is() -> None:
    assert account().rest_base_url == "https://api.vobiz.ai/api/v1"


@pytest.mark.parametrize("auth_id", ["MAXXXXXXXXXXXXXXXXXX", "MA_", "MA_a/b", "ma_1"])
def test_ids_that_are_none(auth_id: str) -> None:
    with pytest.raises(ValidationError, match="MA_"):
        account(auth_id=auth_id)


def test_the_safer_default_of_what_is_not_confirmed() -> None:
    holder = account(auth_id="MA_TEST0001", auth_token="t")
    assert holder.require_signature
    assert holder.stream_encoding is StreamEncoding.PCMU
    assert not (holder.dial_with_plus)
    assert not (holder.received_big_endian)
    assert not (holder.sent_big_endian)
    holder = account(
        require_signature="false", stream_encoding="L16/16000", received_big_endian="true"
    )
    assert not holder.require_signature
    assert (holder.stream_encoding, holder.received_big_endian) == (StreamEncoding.L16_16K, True)
    assert account(require_signature="", stream_encoding=" ") == account()


def test_networks() -> None:
    assert account(allowed_networks=None) == account()
    assert len(account().networks) == len(CALLBACK_NETWORKS.split(","))
    ours = account(allowed_networks="203.0.113.0/24, 2001:db8::1")
    assert ipaddress.ip_address("203.0.113.9") in ours.networks[0]


@pytest.mark.parametrize(
    "fields",
    [
        {"allowed_networks": "somewhere"},
        {"allowed_networks": "203.0.113.1/24"},
        {"stream_encoding": "L16/24000"},
        {"require_signature": "perhaps"},
    ],
)
def test_what_cannot_be_right_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        account(**fields)
