from __future__ import annotations

import pytest
from pydantic import ValidationError

from trunkline.carriers.exotel.account import ExotelAccount
from trunkline.carriers.twilio.account import TwilioAccount
from trunkline.errors import ConfigError

KEYS = {"account_sid": "acct1", "api_key": "key", "api_token": "token"}


def account(**fields: object) -> ExotelAccount:
    return ExotelAccount.model_validate(fields)


def test_an_empty_account_names_what_is_missing() -> None:
    empty = account()
    assert list(empty.missing()) == ["EXOTEL_ACCOUNT_SID", "EXOTEL_API_KEY", "EXOTEL_API_TOKEN"]
    assert empty.account_id == ""
    assert empty.webhook_credentials is None
    with pytest.raises(ConfigError, match="EXOTEL_API_TOKEN"):
        _ = empty.rest_credentials


def test_the_keys_are_enough() -> None:
    ready = account(**KEYS)
    assert list(ready.missing()) == []
    assert ready.account_id == "acct1"
    assert ready.rest_credentials == ("key", "token")
    assert ready.webhook_credentials == ("key", "token")


def test_a_pair_of_its_own_replaces_the_key_in_urls() -> None:
    ready = account(**KEYS, webhook_user="exo", webhook_password="p:w")
    assert ready.webhook_credentials == ("exo", "p:w")
    assert ready.rest_credentials == ("key", "token")


def test_blank_is_unset() -> None:
    blank = account(**KEYS, flow_id=" ", api_base="", sample_rate_hz="", allowed_networks="")
    assert blank.flow_id is None
    assert blank.rest_base_url == "https://api.in.exotel.com"
    assert blank.sample_rate_hz == 8000
    assert blank.networks == ()


def test_what_is_given_is_kept() -> None:
    given = account(
        api_base="https://api.exotel.com/",
        phone_number="+91 80470 91234",
        sample_rate_hz="16000",
        flow_id="654321",
        allowed_networks="203.0.113.0/24, 2001:db8::1",
    )
    assert given.rest_base_url == "https://api.exotel.com"
    assert given.phone_number == "+918047091234"
    assert given.sample_rate_hz == 16000
    assert [str(network) for network in given.networks] == ["203.0.113.0/24", "2001:db8::1/128"]


@pytest.mark.parametrize("base", ["http://127.0.0.1:9000", "http://localhost:1", "http://[::1]:2"])
def test_a_stand_in_on_this_machine_may_be_plain(base: str) -> None:
    assert account(api_base=base).rest_base_url == base


@pytest.mark.parametrize(
    "fields",
    [
        {"account_sid": "a/b"},
        {"flow_id": "1?x=2"},
        {"webhook_user": "exo"},
        {"webhook_password": "secret"},
        {"webhook_user": "a:b", "webhook_password": "secret"},
        {"sample_rate_hz": 44100},
        {"sample_rate_hz": "fast"},
        {"message_ms": 10},
        {"message_ms": 201},
        {"allowed_networks": "203.0.113.0/33"},
        {"allowed_networks": "203.0.113.1,"},
        {"allowed_networks": ","},
        {"api_base": "api.exotel.com"},
        {"api_base": "ftp://api.exotel.com"},
        {"api_base": "http://api.exotel.com"},
        {"api_base": "https://user@api.exotel.com"},
        {"api_base": "https://api.exotel.com?x=1"},
        {"phone_number": "08047091234"},
        {"unknown": "1"},
    ],
)
def test_what_cannot_be_meant_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError) as caught:
        account(**fields)
    assert "secret" not in str(caught.value)


def test_secrets_are_not_shown() -> None:
    shown = repr(account(**KEYS, webhook_user="exo", webhook_password="hidden-password"))
    assert "hidden-password" not in shown
    assert "'token'" not in shown


def test_only_our_own_accounts_are_taken() -> None:
    ours = account(**KEYS)
    assert ExotelAccount.require(ours) is ours
    with pytest.raises(TypeError):
        ExotelAccount.require(TwilioAccount())
