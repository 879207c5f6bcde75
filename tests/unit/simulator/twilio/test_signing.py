from __future__ import annotations

import json
from pathlib import Path

import pytest
from twilio.request_validator import RequestValidator

from trunkline.simulator.twilio.signing import sign_upgrade, sign_webhook, signed_url

CAPTURES = Path(__file__).resolve().parents[3] / "captures" / "twilio" / "signatures.json"
VECTORS = [
    vector
    for vector in json.loads(CAPTURES.read_text(encoding="utf-8"))["vectors"]
    if vector["expect"] == "valid"
    and vector["algorithm"] == "HMAC_SHA1"
    and isinstance(vector["params"], dict)
    # Twilio's voice servers leave the port of an https URL out; servers must also accept it.
    and signed_url(vector["signed_url"]) == vector["signed_url"]
]
TOKEN = "0123456789abcdef0123456789abcdef"


def test_twilios_published_signature_comes_out() -> None:
    fields = {
        "CallSid": "CA1234567890ABCDE",
        "Caller": "+14158675310",
        "Digits": "1234",
        "From": "+14158675310",
        "To": "+18005551212",
    }
    url = "https://example.com/myapp.php?foo=1&bar=2"

    assert sign_webhook("12345", url, fields.items()) == "L/OH5YylLD5NRKLltdqwSvS0BnU="


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_the_sdks_string_to_sign_comes_out(vector: dict[str, object]) -> None:
    params = vector["params"]
    assert isinstance(params, dict)
    pairs = [
        (name, value)
        for name, values in params.items()
        for value in (values if isinstance(values, list) else [values])
    ]
    signature = sign_webhook(str(vector["auth_token"]), str(vector["signed_url"]), pairs)

    headers = vector["headers"]
    assert isinstance(headers, dict)
    assert signature in headers.values()


@pytest.mark.parametrize(
    "url",
    [
        "https://voice.example.test/inbound?a=1&b=%20x",
        "https://voice.example.test:8443/inbound",
        "http://127.0.0.1:8000/inbound/",
        "https://voice.example.test",
    ],
)
def test_the_official_sdk_accepts_our_webhooks(url: str) -> None:
    fields = {"CallSid": "CA1", "From": "+14155550100", "Empty": ""}

    assert RequestValidator(TOKEN).validate(url, fields, sign_webhook(TOKEN, url, fields.items()))


def test_the_official_sdk_accepts_our_upgrades() -> None:
    url = "wss://voice.example.test/ws/agent/token"

    assert RequestValidator(TOKEN).validate(url, {}, sign_upgrade(TOKEN, url))


@pytest.mark.parametrize(
    ("url", "signed"),
    [
        ("https://me:pw@voice.example.test:444/a?b#rc=2", "https://voice.example.test/a?b"),
        ("http://me@127.0.0.1:8000/a", "http://127.0.0.1:8000/a"),
        ("wss://voice.example.test:443/a", "wss://voice.example.test/a"),
        ("https://[::1]:8000/a", "https://[::1]/a"),
        ("https://voice.example.test?x=a/b", "https://voice.example.test?x=a/b"),
    ],
)
def test_port_user_and_fragment_are_left_out(url: str, signed: str) -> None:
    assert signed_url(url) == signed
