from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import pytest
from pydantic import ValidationError

from trunkline.carriers.twilio.account import TwilioAccount
from trunkline.errors import ConfigError
from trunkline.telephony.carrier import CarrierAccount

ACCOUNT_SID = "AC00000000000000000000000000000001"
API_KEY = "SK00000000000000000000000000000001"


class OtherAccount(CarrierAccount):
    ENV_PREFIX: ClassVar[str] = "OTHER_"

    @property
    def account_id(self) -> str:
        return "other"

    def missing(self) -> Sequence[str]:
        return []


def account(**fields: object) -> TwilioAccount:
    return TwilioAccount.model_validate(fields)


def test_an_empty_account_says_what_it_lacks() -> None:
    empty = account()
    assert empty.account_id == ""
    assert empty.missing() == ["TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN"]
    with pytest.raises(ConfigError, match="TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN"):
        _ = empty.rest_credentials


def test_an_account_with_its_token() -> None:
    holder = account(account_sid=f" {ACCOUNT_SID} ", auth_token=" secret ")
    assert holder.account_id == ACCOUNT_SID
    assert holder.missing() == []
    assert holder.rest_credentials == (ACCOUNT_SID, "secret")
    assert holder.rest_base_url == "https://api.twilio.com"


def test_an_api_key_places_calls_but_does_not_check_webhooks() -> None:
    holder = account(account_sid=ACCOUNT_SID, api_key=API_KEY, api_secret="s")
    assert holder.rest_credentials == (API_KEY, "s")
    assert holder.missing() == ["TWILIO_AUTH_TOKEN"]
    both = account(account_sid=ACCOUNT_SID, auth_token="t", api_key=API_KEY, api_secret="s")
    assert both.rest_credentials == (API_KEY, "s")


def test_a_sid_without_any_secret_cannot_call() -> None:
    with pytest.raises(ConfigError, match="TWILIO_AUTH_TOKEN"):
        _ = account(account_sid=ACCOUNT_SID).rest_credentials
    with pytest.raises(ConfigError, match="TWILIO_ACCOUNT_SID"):
        _ = account(auth_token="t").rest_credentials


def test_environment_names() -> None:
    names = TwilioAccount.environment()
    assert names["account_sid"] == "TWILIO_ACCOUNT_SID"
    assert names["phone_number"] == "TWILIO_PHONE_NUMBER"
    assert set(names) == set(TwilioAccount.model_fields)


def test_blanks_are_unset() -> None:
    blank = account(account_sid="", auth_token=" ", region="", edge="", api_base="")
    assert blank == account()


def test_no_secret_is_shown() -> None:
    secret = "do-not-show"
    holder = account(
        account_sid=ACCOUNT_SID,
        auth_token=secret,
        secondary_auth_token=secret,
        shared_key_secret=secret,
        api_key=API_KEY,
        api_secret=secret,
    )
    assert secret not in f"{holder!r} {holder} {holder.model_dump_json()}"


def test_a_refusal_shows_no_secret() -> None:
    secret = "do-not-show"
    for fields in ({"region": "ie1"}, {"api_secret": secret}, {"auth_tokn": secret}):
        with pytest.raises(ValidationError) as caught:
            account(auth_token=secret, **fields)
        assert secret not in f"{caught.value} {caught.value!r}"


def test_region_and_edge_make_the_host() -> None:
    assert account(region="ie1", edge="dublin").rest_base_url == "https://api.dublin.ie1.twilio.com"


def test_the_base_url_may_be_another() -> None:
    holder = account(region="ie1", edge="dublin", api_base="http://127.0.0.1:8025/")
    assert holder.rest_base_url == "http://127.0.0.1:8025"
    assert account(api_base="http://localhost:1").rest_base_url == "http://localhost:1"
    assert account(api_base="http://[::1]:1").rest_base_url == "http://[::1]:1"
    assert account(api_base="https://proxy.example.test/twilio").rest_base_url.endswith("/twilio")


@pytest.mark.parametrize(
    "fields",
    [
        {"region": "ie1"},
        {"edge": "dublin"},
        {"region": "ie1", "edge": "evil.example/"},
        {"region": "-", "edge": "dublin"},
        {"api_key": API_KEY},
        {"api_secret": "s"},
        {"api_key": ACCOUNT_SID, "api_secret": "s"},
        {"account_sid": API_KEY},
        {"account_sid": "AC1"},
        {"account_sid": "AC/../" + "0" * 28},
        {"phone_number": "4155550100"},
        {"phone_number": "+1"},
        {"api_base": "api.twilio.com"},
        {"api_base": "ftp://127.0.0.1"},
        {"api_base": "http://api.twilio.com"},
        {"api_base": "http://127.0.0.1.example.test"},
        {"api_base": "https://"},
        {"api_base": "https://user@api.twilio.com"},
        {"api_base": "https://api.twilio.com/?a=1"},
        {"api_base": "https://api.twilio.com/#a"},
        {"acount_sid": ACCOUNT_SID},
        {"account_sid": 5},
    ],
)
def test_what_cannot_be_right_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        account(**fields)


def test_the_number_is_written_as_e164() -> None:
    assert account(phone_number="+1 (415) 555-0100").phone_number == "+14155550100"
    assert account(phone_number=None).phone_number is None
    assert account(account_sid=None, region=None, edge=None, api_base=None) == account()


def test_require() -> None:
    holder = account()
    assert TwilioAccount.require(holder) is holder
    with pytest.raises(TypeError, match="OtherAccount"):
        TwilioAccount.require(OtherAccount())
