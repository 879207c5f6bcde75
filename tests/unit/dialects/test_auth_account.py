from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar

import pytest
from pydantic import ValidationError

from trunkline.dialects.auth_account import AuthAccount
from trunkline.errors import ConfigError
from trunkline.telephony.carrier import CarrierAccount


class Account(AuthAccount):
    ENV_PREFIX: ClassVar[str] = "HERE_"
    AUTH_ID: ClassVar[re.Pattern[str]] = re.compile("(MA|SA)[0-9]{2}")
    AUTH_ID_FORM: ClassVar[str] = "MA or SA and two digits"
    DEFAULT_API_BASE: ClassVar[str] = "https://api.example.test/v1"

    is_odd: bool = True


class OtherAccount(CarrierAccount):
    ENV_PREFIX: ClassVar[str] = "OTHER_"

    @property
    def account_id(self) -> str:
        return "other"

    def missing(self) -> Sequence[str]:
        return []


def account(**fields: object) -> Account:
    return Account.model_validate(fields)


def test_an_empty_account_says_what_it_lacks() -> None:
    empty = account()
    assert empty.account_id == ""
    assert empty.missing() == ["HERE_AUTH_ID", "HERE_AUTH_TOKEN"]
    assert empty.rest_base_url == "https://api.example.test/v1"
    with pytest.raises(ConfigError, match="HERE_AUTH_ID and HERE_AUTH_TOKEN"):
        _ = empty.rest_credentials
    with pytest.raises(ConfigError, match="HERE_AUTH_TOKEN"):
        _ = account(auth_id="MA01").rest_credentials


def test_an_account_with_its_token() -> None:
    holder = account(auth_id=" MA01 ", auth_token=" secret ", phone_number="+1 (415) 555-0100")
    assert (holder.account_id, holder.missing()) == ("MA01", [])
    assert holder.rest_credentials == ("MA01", "secret")
    assert holder.phone_number == "+14155550100"


def test_webhooks_of_a_subaccount_name_the_main_account() -> None:
    holder = account(auth_id="SA01", auth_token="t", main_auth_id="MA02")
    assert holder.account_id == "MA02"
    assert holder.rest_credentials == ("SA01", "t")


def test_blanks_are_unset() -> None:
    assert account(auth_id="", auth_token=" ", api_base="", phone_number="", is_odd="") == account()
    assert account(is_odd="false").is_odd is False


def test_no_secret_is_shown() -> None:
    secret = "do-not-show"
    holder = account(auth_id="MA01", auth_token=secret, main_auth_token=secret)
    assert secret not in f"{holder!r} {holder} {holder.model_dump_json()}"
    with pytest.raises(ValidationError) as caught:
        account(auth_token=secret, auth_id=secret)
    assert secret not in f"{caught.value} {caught.value!r}"


def test_the_base_url_may_be_another() -> None:
    assert account(api_base="http://127.0.0.1:8025/").rest_base_url == "http://127.0.0.1:8025"
    assert account(api_base="http://localhost:1").rest_base_url == "http://localhost:1"
    assert account(api_base="https://proxy.example.test/x").rest_base_url.endswith("/x")


@pytest.mark.parametrize(
    "fields",
    [
        {"auth_id": "AC01"},
        {"auth_id": "MA01/../x"},
        {"main_auth_id": "MA"},
        {"phone_number": "4155550100"},
        {"api_base": "api.example.test"},
        {"api_base": "ftp://127.0.0.1"},
        {"api_base": "http://api.example.test"},
        {"api_base": "https://"},
        {"api_base": "https://user@api.example.test"},
        {"api_base": "https://api.example.test/?a=1"},
        {"api_base": "https://api.example.test/#a"},
        {"auth": "MA01"},
        {"auth_id": 5},
    ],
)
def test_what_cannot_be_right_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        account(**fields)


def test_require() -> None:
    holder = account()
    assert Account.require(holder) is holder
    with pytest.raises(TypeError, match="OtherAccount"):
        Account.require(OtherAccount())
