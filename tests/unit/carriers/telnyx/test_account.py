from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import ClassVar

import pytest
from pydantic import ValidationError

from trunkline.carriers.telnyx.account import TelnyxAccount
from trunkline.carriers.telnyx.wire import Media
from trunkline.errors import ConfigError
from trunkline.telephony.carrier import CarrierAccount

ACCOUNT_SID = "9bb60a0d-7f6c-4b0d-9f0c-000000000001"
PUBLIC_KEY = base64.b64encode(bytes(range(32))).decode()


class OtherAccount(CarrierAccount):
    ENV_PREFIX: ClassVar[str] = "OTHER_"

    @property
    def account_id(self) -> str:
        return "other"

    def missing(self) -> Sequence[str]:
        return []


def account(**fields: object) -> TelnyxAccount:
    return TelnyxAccount.model_validate(fields)


def test_an_empty_account_says_what_it_lacks() -> None:
    empty = account()
    assert (empty.account_id, empty.public_key_bytes) == ("", None)
    assert empty.missing() == ["TELNYX_API_KEY", "TELNYX_PUBLIC_KEY", "TELNYX_CONNECTION_ID"]
    with pytest.raises(ConfigError, match="TELNYX_API_KEY"):
        _ = empty.bearer


def test_a_whole_account() -> None:
    holder = account(
        api_key=" KEY1 ",
        public_key=PUBLIC_KEY,
        connection_id="1494404757140276705",
        account_sid=ACCOUNT_SID,
        phone_number="+1 (415) 555-0100",
    )
    assert holder.missing() == []
    assert holder.account_id == ACCOUNT_SID
    assert holder.bearer == "KEY1"
    assert holder.public_key_bytes == bytes(range(32))
    assert holder.phone_number == "+14155550100"
    assert holder.rest_base_url == "https://api.telnyx.com"
    assert (holder.media, holder.accept_get) == (Media.PCMU, False)


def test_settings_come_as_text() -> None:
    holder = account(media="L16-little", accept_get="true")
    assert (holder.media, holder.accept_get) == (Media.L16_LITTLE, True)


def test_environment_names() -> None:
    names = TelnyxAccount.environment()
    assert names["api_key"] == "TELNYX_API_KEY"
    assert names["phone_number"] == "TELNYX_PHONE_NUMBER"
    assert set(names) == set(TelnyxAccount.model_fields)


def test_blanks_are_unset() -> None:
    blank = account(**dict.fromkeys(TelnyxAccount.model_fields, " "))
    assert blank == account()


def test_no_secret_is_shown() -> None:
    holder = account(api_key="do-not-show")
    assert "do-not-show" not in f"{holder!r} {holder} {holder.model_dump_json()}"
    with pytest.raises(ValidationError) as caught:
        account(api_key="do-not-show", api_kee="do-not-show")
    assert "do-not-show" not in f"{caught.value} {caught.value!r}"


def test_the_base_url_may_be_another() -> None:
    assert account(api_base="http://127.0.0.1:8025/").rest_base_url == "http://127.0.0.1:8025"
    assert account(api_base="http://localhost:1").rest_base_url == "http://localhost:1"
    assert account(api_base="https://proxy.example.test/t").rest_base_url.endswith("/t")


@pytest.mark.parametrize(
    "fields",
    [
        {"public_key": "KEY0123"},
        {"public_key": PUBLIC_KEY[:-4]},
        {"public_key": "ü"},
        {"public_key": base64.b64encode(bytes(33)).decode()},
        {"connection_id": "14/../15"},
        {"account_sid": "a b"},
        {"phone_number": "4155550100"},
        {"media": "mp3"},
        {"accept_get": "perhaps"},
        {"api_base": "api.telnyx.com"},
        {"api_base": "ftp://127.0.0.1"},
        {"api_base": "http://api.telnyx.com"},
        {"api_base": "https://"},
        {"api_base": "https://user@api.telnyx.com"},
        {"api_base": "https://api.telnyx.com/?a=1"},
        {"api_kee": "x"},
    ],
)
def test_what_cannot_be_right_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        account(**fields)


def test_what_is_null_is_unset() -> None:
    nothing = dict.fromkeys(
        ("api_key", "public_key", "connection_id", "account_sid", "phone_number", "api_base")
    )
    assert account(**nothing) == account()


def test_require() -> None:
    holder = account()
    assert TelnyxAccount.require(holder) is holder
    with pytest.raises(TypeError, match="OtherAccount"):
        TelnyxAccount.require(OtherAccount())
