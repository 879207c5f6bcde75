from __future__ import annotations

import base64
import hashlib
import hmac
import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.carriers.vobiz.account import VobizAccount
from trunkline.carriers.vobiz.webhook import nonce, parse_event, parse_incoming, to_e164, verify
from trunkline.dialects.call_form import account_id
from trunkline.errors import AccessDenied, MissingProof, SignatureError
from trunkline.telephony.call import CallEvent, Direction
from trunkline.telephony.webhook import CallChanged, StreamChanged, WebhookRequest

CAPTURES = Path(__file__).parents[3] / "captures" / "vobiz"
CASES = json.loads((CAPTURES / "signatures.json").read_text(encoding="utf-8"))["cases"]

AUTH_ID = "MA_TEST0001"
TOKEN = "vobiz-test-auth-token-0001"
CALL_ID = "5401fd2e-6344-40df-a22c-c8ffea7a92e7"
URL = "https://voice.example.test/telephony/vobiz/inbound/desk"
FORM = "application/x-www-form-urlencoded"
SALT = "48213907714502638891"


def account(**fields: object) -> VobizAccount:
    return VobizAccount.model_validate({"auth_id": AUTH_ID, "auth_token": TOKEN, **fields})


def sign(text: str, token: str = TOKEN) -> str:
    digest = hmac.new(token.encode(), text.encode(), hashlib.sha256).digest()
    return base64.b64encode(digest).decode()


def post(*headers: tuple[str, str], url: str = URL, client_host: str = "") -> WebhookRequest:
    return WebhookRequest(
        method="POST",
        url=url,
        headers=[("Content-Type", FORM), *headers],
        body=b"CallUUID=C1",
        client_host=client_host,
    )


def captured(name: str) -> WebhookRequest:
    row = json.loads((CAPTURES / f"{name}.json").read_text(encoding="utf-8"))
    return form(row["form"])


def form(fields: dict[str, str]) -> WebhookRequest:
    return WebhookRequest(
        method="POST", url=URL, headers=[("Content-Type", FORM)], body=urlencode(fields).encode()
    )


def test_the_capture_has_both_kinds_of_case() -> None:
    assert {case["valid"] for case in CASES} == {True, False}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_signature_vectors(case: dict[str, Any]) -> None:
    request = WebhookRequest(
        method=case["method"],
        url=case["url"],
        headers=[*case["headers"].items(), ("Content-Type", case["content_type"])],
        body=case["body"].encode(),
    )
    holder = account(auth_token=case["auth_token"])
    assert case["verify_with"] == "account"
    if case["valid"]:
        verify(request, holder)
        assert nonce(request) in {SALT, "90817263544536271809"}
    else:
        with pytest.raises(AccessDenied):
            verify(request, holder)


def test_v2_counts_only_where_there_is_no_v3() -> None:
    v2 = [("x-vobiz-signature-v2", sign(URL + SALT)), ("X-Vobiz-Signature-V2-Nonce", SALT)]
    v3 = [("X-Vobiz-Signature-V3", sign(f"{URL}.{SALT}")), ("X-Vobiz-Signature-V3-Nonce", SALT)]
    verify(post(*v2), account())
    verify(post(*v3), account())
    with pytest.raises(SignatureError):
        verify(post(*v2, ("X-Vobiz-Signature-V3", "AAAA"), v3[1]), account())
    # A signature of one version is none of the other.
    with pytest.raises(SignatureError):
        verify(post(("X-Vobiz-Signature-V3", v2[0][1]), v3[1]), account())


def test_the_main_account_signs_too() -> None:
    headers = [
        ("X-Vobiz-Signature-MA-V3", sign(f"{URL}.{SALT}", "main")),
        ("X-Vobiz-Signature-V3-Nonce", SALT),
    ]
    sub = {"auth_id": "SA_1", "main_auth_id": AUTH_ID}
    verify(post(*headers), account(**sub, main_auth_token="main"))
    verify(post(*headers), account(auth_token="main"))
    for holder in (account(**sub), account(**sub, main_auth_token="other")):
        with pytest.raises(SignatureError):
            verify(post(*headers), holder)


def test_v1_and_nothing_are_no_proof() -> None:
    with pytest.raises(MissingProof):
        verify(post(("X-Vobiz-Signature", "AAAA")), account())
    with pytest.raises(MissingProof):
        verify(post(), account())
    assert nonce(post()) is None


def test_a_signature_without_a_nonce_is_none() -> None:
    with pytest.raises(SignatureError, match="no nonce"):
        verify(post(("X-Vobiz-Signature-V3", sign(URL))), account())


def test_nothing_is_right_without_a_token() -> None:
    with pytest.raises(SignatureError, match="not set up"):
        verify(post(), VobizAccount())
    with pytest.raises(SignatureError, match="not set up"):
        verify(post(), VobizAccount(require_signature=False))


def test_unsigned_webhooks_come_from_listed_addresses_where_they_are_taken() -> None:
    lenient = account(require_signature=False)
    verify(post(client_host="15.206.6.156"), lenient)
    for host in ("203.0.113.9", "", "somewhere", "::1"):
        with pytest.raises(SignatureError):
            verify(post(client_host=host), lenient)
    verify(
        post(client_host="203.0.113.9"),
        account(require_signature=False, allowed_networks="203.0.113.0/24"),
    )
    # One that is signed must be signed right, wherever it comes from.
    forged = post(("X-Vobiz-Signature-V2", "AAAA"), client_host="15.206.6.156")
    with pytest.raises(SignatureError):
        verify(forged, lenient)


@pytest.mark.parametrize(
    ("ours", "signed", "same"),
    [
        (URL + "?a=1#f", URL, True),
        ("https://voice.example.test:8443/x", "https://voice.example.test:8443/x", True),
        (URL + "/", URL, False),
        (URL, URL.replace("https", "http"), False),
        ("https://voice.example.test:8443/x", "https://voice.example.test/x", False),
    ],
)
def test_which_urls_are_the_same(ours: str, signed: str, same: bool) -> None:
    headers = [
        ("X-Vobiz-Signature-V3", sign(f"{signed}.{SALT}")),
        ("X-Vobiz-Signature-V3-Nonce", SALT),
    ]
    request = post(*headers, url=ours)
    if same:
        verify(request, account())
    else:
        with pytest.raises(SignatureError):
            verify(request, account())


@given(
    url=st.text() | st.text().map(lambda text: f"{URL}/{text}"),
    signature=st.text(min_size=1),
    body=st.binary(max_size=50),
)
def test_any_request_is_refused_with_the_documented_error(
    url: str, signature: str, body: bytes
) -> None:
    headers = [("X-Vobiz-Signature-V3", signature), ("X-Vobiz-Signature-V3-Nonce", SALT)]
    with suppress(AccessDenied):
        verify(replace(post(*headers, url=url), body=body), account())
        raise AssertionError("chance has found a signature")


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        ("919876543210", "+919876543210"),
        ("+919876543210", "+919876543210"),
        ("09876543210", "+919876543210"),
        ("9876543210", "+919876543210"),
        ("01171366941", "+911171366941"),
        ("14155550100", "+14155550100"),
        ("00000000000", "00000000000"),
        ("0123", "0123"),
        ("0", "0"),
        ("5555555555", "+5555555555"),
        ("sip:a@example.test", "sip:a@example.test"),
        ("²", "²"),
        ("", ""),
    ],
)
def test_numbers(number: str, expected: str) -> None:
    assert to_e164(number) == expected


@given(st.text() | st.text("0123456789", max_size=20))
def test_any_number_is_kept_but_for_its_prefix(number: str) -> None:
    assert to_e164(number).endswith(number.lstrip("0"))


def test_captured_calls() -> None:
    request = captured("answer_request_inbound")
    call = parse_incoming(request)
    assert (call.carrier_call_id, call.account_id) == (CALL_ID, AUTH_ID)
    assert (call.from_number, call.to_number) == ("+919876543210", "+911171366941")
    assert (call.direction, call.raw["X-VH-Tenant"]) == (Direction.INBOUND, "acme")
    assert account_id(request) == AUTH_ID
    call = parse_incoming(captured("answer_request_outbound"))
    assert (call.direction, call.dial_id) == (Direction.OUTBOUND, CALL_ID)


@pytest.mark.parametrize(
    ("name", "event", "duration_s", "cause"),
    [
        ("ring", CallEvent.RINGING, None, ""),
        ("hangup", CallEvent.COMPLETED, 4, "4000 Normal Hangup"),
        ("hangup_no_answer", CallEvent.NO_ANSWER, 0, "3000 No Answer"),
    ],
)
def test_captured_statuses(name: str, event: CallEvent, duration_s: int | None, cause: str) -> None:
    changed = parse_event(captured(name))
    assert isinstance(changed, CallChanged)
    assert (changed.event, changed.duration_s, changed.cause) == (event, duration_s, cause)
    assert changed.to_number == "+919876543210"


def test_captured_stream_callbacks() -> None:
    lines = (CAPTURES / "stream_status_callbacks.jsonl").read_text(encoding="utf-8").splitlines()
    for fields in map(json.loads, lines):
        changed = parse_event(form(fields))
        assert isinstance(changed, StreamChanged)
        assert (changed.word, changed.error) == (fields["Event"], fields["Error"])
        assert changed.stream_id == fields["StreamID"]
