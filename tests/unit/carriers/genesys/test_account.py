from __future__ import annotations

import pytest
from pydantic import ValidationError

from trunkline.carriers.genesys.account import GenesysAccount
from trunkline.carriers.twilio.account import TwilioAccount

SECRETS = {"api_key": "SGVsbG8sIEkgYW0gdGhlIEFQSSBrZXkh", "client_secret": "c2VjcmV0"}
ORGANIZATION = "d7934305-0972-4844-938e-9060eef73d05"


def account(**fields: object) -> GenesysAccount:
    return GenesysAccount.model_validate(fields)


def test_both_secrets_are_needed() -> None:
    assert list(account().missing()) == ["GENESYS_API_KEY", "GENESYS_CLIENT_SECRET"]
    assert list(account(**SECRETS).missing()) == []
    assert account(**SECRETS).signing_key == b"secret"
    assert account().signing_key is None
    assert account().account_id == ""


def test_an_integration_without_a_secret_must_be_allowed() -> None:
    unsigned = account(api_key=SECRETS["api_key"], accept_unsigned="true")
    assert list(unsigned.missing()) == []
    assert list(account(accept_unsigned=True).missing()) == ["GENESYS_API_KEY"]


def test_blank_is_unset() -> None:
    blank = account(**SECRETS, accept_unsigned="", organization_id=" ")
    assert blank.accept_unsigned is False
    assert blank.organization_id is None


def test_the_organisation_is_compared_in_lower_case() -> None:
    assert account(organization_id=ORGANIZATION.upper()).account_id == ORGANIZATION


@pytest.mark.parametrize(
    "fields",
    [
        {"api_key": "with blanks in it"},
        {"api_key": "dösentlich"},
        {"client_secret": "not-base64!"},
        {"client_secret": "YQ"},
        {"organization_id": "acme"},
        {"accept_unsigned": "perhaps"},
        {"unknown": "1"},
    ],
)
def test_what_cannot_be_meant_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError) as caught:
        account(**fields)
    assert "not-base64!" not in str(caught.value)


def test_secrets_are_not_shown() -> None:
    shown = repr(account(**SECRETS))
    assert SECRETS["api_key"] not in shown
    assert SECRETS["client_secret"] not in shown


def test_only_our_own_accounts_are_taken() -> None:
    ours = account(**SECRETS)
    assert GenesysAccount.require(ours) is ours
    with pytest.raises(TypeError):
        GenesysAccount.require(TwilioAccount())
