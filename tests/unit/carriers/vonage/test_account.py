from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from pydantic import ValidationError

from trunkline.carriers.twilio.account import TwilioAccount
from trunkline.carriers.vonage.account import VonageAccount
from trunkline.errors import ConfigError

RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PEM = RSA_KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
OLD_PEM = RSA_KEY.private_bytes(
    Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()
).decode()
PUBLIC_PEM = (
    RSA_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
)
EC_PEM = (
    ec.generate_private_key(ec.SECP256R1())
    .private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    .decode()
)
APPLICATION_ID = "aaaaaaaa-bbbb-cccc-dddd-0123456789ab"


def account(**fields: object) -> VonageAccount:
    return VonageAccount.model_validate(
        {
            "api_key": "a1b2c3d4",
            "signature_secret": "s",
            "application_id": APPLICATION_ID,
            "private_key": PEM,
            **fields,
        }
    )


def test_what_is_missing() -> None:
    assert account().missing() == []
    assert VonageAccount().missing() == [
        "VONAGE_API_KEY",
        "VONAGE_SIGNATURE_SECRET",
        "VONAGE_APPLICATION_ID",
        "VONAGE_PRIVATE_KEY",
    ]
    assert account(private_key=None).missing() == ["VONAGE_PRIVATE_KEY"]


def test_the_account_is_named_by_its_api_key() -> None:
    assert account().account_id == "a1b2c3d4"
    assert VonageAccount().account_id == ""


def test_secrets_are_not_shown() -> None:
    shown = repr(account(signature_secret="sig-secret", api_secret="api-secret"))
    assert "sig-secret" not in shown
    assert "api-secret" not in shown
    assert "BEGIN" not in shown


@pytest.mark.parametrize("key", [PEM, OLD_PEM, PEM.replace("\n", "\\n"), f"  {PEM}  "])
def test_ways_to_write_the_key(key: str) -> None:
    application_id, pem = account(private_key=key).rest_credentials
    assert application_id == APPLICATION_ID
    assert pem.strip() in (PEM.strip(), OLD_PEM.strip())


@pytest.mark.parametrize("key", ["private.key", "x", PUBLIC_PEM, EC_PEM, PEM[:200]])
def test_keys_that_are_none(key: str) -> None:
    with pytest.raises(ValidationError) as caught:
        account(private_key=key)
    assert "PEM, not its path" in str(caught.value)
    assert key not in str(caught.value)


@pytest.mark.parametrize(
    "fields",
    [
        {"api_key": "a b"},
        {"api_key": "abc"},
        {"application_id": "my-app"},
        {"sample_rate_hz": 44100},
        {"sample_rate_hz": "x"},
        {"signed_upgrades": "maybe"},
        {"region": "api-eu-1.nexmo.com"},
        {"region": "eu-1/x"},
        {"api_base": "http://api.example.test"},
        {"api_base": "ftp://localhost"},
        {"api_base": "https://"},
        {"api_base": "https://u@api.example.test"},
        {"api_base": "https://api.example.test?x=1"},
        {"phone_number": "447700900000"},
        {"unknown": "x"},
    ],
)
def test_what_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        account(**fields)


def test_values_as_an_environment_has_them() -> None:
    holder = account(
        application_id=APPLICATION_ID.upper(),
        sample_rate_hz="8000",
        signed_upgrades="false",
        signed_queries="true",
        phone_number="+44 20 7946 0000",
    )
    assert holder.application_id == APPLICATION_ID
    assert holder.sample_rate_hz == 8000
    assert (holder.signed_upgrades, holder.signed_queries) == (False, True)
    assert holder.phone_number == "+442079460000"


def test_blank_is_unset() -> None:
    blank = dict.fromkeys(VonageAccount.model_fields, " ")
    assert VonageAccount.model_validate(blank) == VonageAccount()


def test_safe_defaults() -> None:
    assert (VonageAccount().signed_upgrades, VonageAccount().signed_queries) == (True, False)


@pytest.mark.parametrize(
    ("fields", "voice", "applications", "numbers"),
    [
        ({}, "https://api.nexmo.com", "https://api.nexmo.com", "https://rest.nexmo.com"),
        (
            {"region": "eu-1"},
            "https://api-eu-1.nexmo.com",
            "https://api.nexmo.com",
            "https://rest.nexmo.com",
        ),
        *[
            ({"api_base": f"{base}/", "region": "eu-1"}, base, base, base)
            for base in ("http://127.0.0.1:9", "http://localhost:9/v", "https://stand-in.test")
        ],
    ],
)
def test_base_urls(fields: dict[str, str], voice: str, applications: str, numbers: str) -> None:
    holder = account(**fields)
    assert holder.voice_base_url == voice
    assert holder.applications_base_url == applications
    assert holder.numbers_base_url == numbers


@pytest.mark.parametrize("field", ["application_id", "private_key"])
def test_credentials_that_are_missing_are_named(field: str) -> None:
    with pytest.raises(ConfigError, match=f"VONAGE_{field.upper()}"):
        _ = account(**{field: None}).rest_credentials


def test_require() -> None:
    holder = account()
    assert VonageAccount.require(holder) is holder
    with pytest.raises(TypeError, match="TwilioAccount"):
        VonageAccount.require(TwilioAccount())
