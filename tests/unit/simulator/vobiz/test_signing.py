from __future__ import annotations

import json
from pathlib import Path

import pytest
from starlette.requests import Request

from trunkline.carriers.vobiz.account import VobizAccount
from trunkline.carriers.vobiz.webhook import verify
from trunkline.errors import SignatureError
from trunkline.simulator.vobiz import signing
from trunkline.simulator.vobiz.signing import is_authentic, sign, sign_upgrade
from trunkline.telephony.webhook import WebhookRequest

CASES = json.loads(
    (Path(__file__).parents[3] / "captures" / "vobiz" / "signatures.json").read_text("utf-8")
)["cases"]
URL = "https://voice.example.test/hook?a=1"
ACCOUNT = VobizAccount.model_validate({"auth_id": "MA_1", "auth_token": "token"})


def test_it_signs_as_the_captured_cases_do() -> None:
    case = next(each for each in CASES if each["name"].startswith("full header set"))
    headers = case["headers"]
    base = case["base_url"]
    v2 = base + headers["X-Vobiz-Signature-V2-Nonce"]
    v3 = f"{base}.{headers['X-Vobiz-Signature-V3-Nonce']}"
    for text, name in ((v2, "X-Vobiz-Signature-V2"), (v3, "X-Vobiz-Signature-V3")):
        assert signing._hmac(case["auth_token"], text) == headers[name]  # noqa: SLF001 - the sum itself


def test_the_servers_check_takes_it() -> None:
    headers = sign("token", "POST", URL, [("CallUUID", "C1")])
    request = WebhookRequest(method="POST", url=URL, headers=list(headers.items()))
    verify(request, ACCOUNT)
    v2_only = [(name, value) for name, value in headers.items() if "V3" not in name]
    verify(WebhookRequest(method="POST", url=URL, headers=v2_only), ACCOUNT)
    forged = sign("other", "POST", URL, [])
    with pytest.raises(SignatureError):
        verify(WebhookRequest(method="POST", url=URL, headers=list(forged.items())), ACCOUNT)


def test_upgrades_are_not_signed() -> None:
    assert sign_upgrade("token", "wss://x/") == {}


@pytest.mark.parametrize(
    ("user", "token", "expected"),
    [("MA_1", "t", True), ("MA_1", "x", False), ("MA_2", "t", False), ("", "", False)],
)
def test_rest_wants_its_own_headers(user: str, token: str, expected: bool) -> None:
    headers = [(b"x-auth-id", user.encode()), (b"x-auth-token", token.encode())]
    assert is_authentic(Request({"type": "http", "headers": headers}), {"MA_1": "t"}) is expected
