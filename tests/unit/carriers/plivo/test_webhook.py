from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plivo.utils import validate_v3_signature
from plivo.utils.signature_v3 import construct_get_url, construct_post_url, get_signature_v3

from trunkline.carriers.plivo.account import PlivoAccount
from trunkline.carriers.plivo.webhook import nonce, verify, verify_upgrade
from trunkline.dialects.call_form import parse_event, parse_incoming
from trunkline.errors import AccessDenied, MissingProof, SignatureError
from trunkline.telephony.call import CallEvent, Direction
from trunkline.telephony.webhook import (
    AmdReported,
    AmdVerdict,
    CallChanged,
    StreamChanged,
    UnknownReport,
    UpgradeRequest,
    WebhookRequest,
)

CAPTURES = Path(__file__).parents[3] / "captures" / "plivo"
CAPTURED = json.loads((CAPTURES / "signatures.json").read_text(encoding="utf-8"))
VECTORS = CAPTURED["vectors"]
UPGRADES = CAPTURED["websocket_upgrade_candidates"]["candidates"]
V2 = CAPTURED["v2_legacy"]

TOKEN = "bWFkZS11cC1hdXRoLXRva2VuLWZvci10ZXN0czAx"
AUTH_ID = "MAXXXXXXXXXXXXXXXXXX"
SUB_ID = "SAXXXXXXXXXXXXXXXXXX"
CALL_ID = "4b1f2c3d-0000-4000-8000-000000000001"
BASE = "https://voice.example.test"
FORM = "application/x-www-form-urlencoded"
V3, V3_MAIN, NONCE = (
    "X-Plivo-Signature-V3",
    "X-Plivo-Signature-Ma-V3",
    "X-Plivo-Signature-V3-Nonce",
)
SALT = "05429567804466091622"

Pairs = list[tuple[str, str]]


def account(**fields: object) -> PlivoAccount:
    return PlivoAccount.model_validate({"auth_id": AUTH_ID, **fields})


ACCOUNT = account(auth_token=TOKEN)


def sign(url: str, fields: Pairs | None = None, *, method: str = "POST", token: str = TOKEN) -> str:
    """Sign as the official SDK does."""
    if method == "GET":
        text = construct_get_url(url, {})
    else:
        params: dict[str, list[str]] = {}
        for name, value in fields or []:
            params.setdefault(name, []).append(value)
        text = construct_post_url(url, params)
    return get_signature_v3(token, text.decode(), SALT.encode()).decode()


def form(
    fields: Pairs,
    *,
    url: str = f"{BASE}/hook",
    signature: str | None = None,
    header: str = V3,
    salt: str = SALT,
    content_type: str = FORM,
) -> WebhookRequest:
    signature = sign(url, fields) if signature is None else signature
    return WebhookRequest(
        method="POST",
        url=url,
        headers=[(header.lower(), signature), (NONCE, salt), ("Content-Type", content_type)],
        body=urlencode(fields).encode(),
    )


def captured(name: str) -> WebhookRequest:
    return WebhookRequest(
        method="POST",
        url=f"{BASE}/hook",
        headers=[("content-type", FORM)],
        body=(CAPTURES / f"{name}.form").read_bytes(),
    )


def test_the_capture_has_both_kinds_of_vector() -> None:
    assert {vector["expect"] for vector in VECTORS} == {"valid", "invalid"}


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_signature_vectors(vector: dict[str, Any]) -> None:
    fields = vector["params"] or {}
    is_get = vector["method"] == "GET"
    headers = [*vector["headers"].items(), ("Content-Type", FORM)]
    request = WebhookRequest(
        method=vector["method"],
        url=vector["url"],
        headers=headers,
        body=urlencode(fields, doseq=True).encode(),
    )
    holder = account(auth_token=vector["auth_token"])
    is_right = vector.get("own_verifier_should", vector["expect"]) in ("valid", "accept")
    if is_right:
        assert not (is_get and fields), "a GET has no body"
        verify(request, holder)
    else:
        with pytest.raises(AccessDenied):
            verify(request, holder)


@pytest.mark.parametrize("vector", UPGRADES, ids=lambda vector: vector["candidate"])
def test_upgrade_vectors(vector: dict[str, str]) -> None:
    """Every form of the URL that Plivo may sign is taken for the URL of our markup."""
    headers = [(V3, vector["signature"]), (NONCE, vector["nonce"])]
    request = UpgradeRequest(url=vector["twiml_url"], headers=headers)
    verify_upgrade(request, account(auth_token=vector["auth_token"]))
    with pytest.raises(SignatureError):
        verify_upgrade(
            UpgradeRequest(url=vector["twiml_url"] + "x", headers=headers),
            account(auth_token=vector["auth_token"]),
        )


def test_the_captured_answer_request_verifies_with_its_vector() -> None:
    vector = next(each for each in VECTORS if each["name"] == "post-answer-no-query")
    request = WebhookRequest(
        method="POST",
        url=vector["url"],
        headers=[*vector["headers"].items(), ("Content-Type", FORM)],
        body=(CAPTURES / "inbound_answer.form").read_bytes(),
    )
    verify(request, ACCOUNT)
    assert nonce(request) == SALT


def test_v2_is_off() -> None:
    headers = [("X-Plivo-Signature-V2", V2["signature"]), ("X-Plivo-Signature-V2-Nonce", "12345")]
    request = WebhookRequest(method="POST", url=V2["url"], headers=headers)
    with pytest.raises(MissingProof):
        verify(request, account(auth_token=V2["auth_token"]))
    accepting = account(auth_token=V2["auth_token"], accept_v2_signature="true")
    verify(request, accepting)
    assert nonce(request) == V2["nonce"]
    with pytest.raises(SignatureError):
        verify(request, account(auth_token="other", accept_v2_signature=True))
    with pytest.raises(SignatureError, match="no nonce"):
        verify(WebhookRequest(method="POST", url=V2["url"], headers=headers[:1]), accepting)
    with pytest.raises(MissingProof):
        verify(WebhookRequest(method="POST", url=V2["url"], headers=[]), accepting)


@pytest.mark.parametrize("method", ["GET", "get"])
def test_get_signs_the_url_alone(method: str) -> None:
    url = f"{BASE}/hook?CallUUID=C1&From=%2B1415&a=&To=x+y"
    headers = [(V3, sign(url, method="GET")), (NONCE, SALT)]
    verify(WebhookRequest(method=method, url=url, headers=headers), ACCOUNT)
    with pytest.raises(SignatureError):
        verify(WebhookRequest(method=method, url=url + "0", headers=headers), ACCOUNT)
    with pytest.raises(SignatureError, match="not covered"):
        verify(WebhookRequest(method=method, url=url, headers=headers, body=b"a=b"), ACCOUNT)


def test_no_signature_is_no_proof() -> None:
    with pytest.raises(MissingProof):
        verify(form([("A", "1")], signature=""), ACCOUNT)
    with pytest.raises(MissingProof):
        verify(WebhookRequest(method="GET", url=BASE, headers=[]), ACCOUNT)
    with pytest.raises(MissingProof):
        verify_upgrade(UpgradeRequest(url="wss://voice.example.test/ws", headers=[]), ACCOUNT)
    assert nonce(WebhookRequest(method="GET", url=BASE, headers=[])) is None


def test_a_signature_without_a_nonce_is_none() -> None:
    with pytest.raises(SignatureError, match="no nonce"):
        verify(form([("A", "1")], salt=""), ACCOUNT)


@pytest.mark.parametrize("signature", ["x", "ü", "\udcff", ",", "=" * 9999])
def test_a_forged_signature_is_refused_and_names_the_url(signature: str) -> None:
    with pytest.raises(SignatureError) as caught:
        verify(form([("A", "1")], signature=signature), ACCOUNT)
    assert caught.value.signed_url == f"{BASE}/hook"


def test_one_of_several_signatures_is_enough() -> None:
    fields = [("A", "1")]
    signature = f"AAAA, {sign(f'{BASE}/hook', fields)}"
    verify(form(fields, signature=signature), ACCOUNT)


def test_a_main_account_signs_under_both_names() -> None:
    verify(form([("A", "1")], header=V3_MAIN), ACCOUNT)


def test_a_subaccount_may_hold_the_main_token() -> None:
    fields = [("A", "1")]
    main = sign(f"{BASE}/hook", fields, token="main")
    sub = {"auth_id": SUB_ID, "auth_token": TOKEN, "main_auth_id": AUTH_ID}
    verify(form(fields), account(**sub))
    verify(form(fields, signature=main, header=V3_MAIN), account(**sub, main_auth_token="main"))
    # Its own token does not sign for the main account, nor the other way round.
    with pytest.raises(SignatureError):
        verify(form(fields, header=V3_MAIN), account(**sub))
    with pytest.raises(SignatureError):
        verify(form(fields, signature=main), account(**sub, main_auth_token="main"))


@pytest.mark.parametrize(
    ("ours", "signed", "same"),
    [
        (f"{BASE}:8443/hook", f"{BASE}:8443/hook", True),
        (f"{BASE}/hook?b=2&a=1", f"{BASE}/hook?a=1&b=2", True),
        (f"{BASE}/hook?a=%20", f"{BASE}/hook?a=+", True),
        (f"{BASE}/hook#ct=2000&rc=1", f"{BASE}/hook", True),
        (f"{BASE}/hook?a=2&a=1", f"{BASE}/hook?a=1&a=2", True),
        (f"{BASE}:8443/hook", f"{BASE}/hook", False),
        (f"{BASE}/hook", f"{BASE}/Hook", False),
        (f"{BASE}/hook", f"{BASE}/hook/", False),
        (f"{BASE}/hook", "http://voice.example.test/hook", False),
        (f"{BASE}/hook?a=1", f"{BASE}/hook?a=2", False),
    ],
)
def test_which_urls_are_the_same(ours: str, signed: str, same: bool) -> None:
    fields = [("CallUUID", CALL_ID)]
    request = form(fields, url=ours, signature=sign(signed, fields))
    if same:
        verify(request, ACCOUNT)
    else:
        with pytest.raises(SignatureError):
            verify(request, ACCOUNT)


@pytest.mark.parametrize(
    "request_",
    [
        form([("A", "1")], url="hook", signature="x"),
        form([("A", "1")], url="https://[::1/hook", signature="x"),
        form([("A", "1")], content_type="application/json"),
        WebhookRequest(
            method="POST",
            url=BASE,
            headers=[(V3, "x"), (NONCE, SALT), ("Content-Type", FORM)],
            body=b"\xff",
        ),
    ],
)
def test_what_cannot_have_been_signed(request_: WebhookRequest) -> None:
    with pytest.raises(SignatureError):
        verify(request_, ACCOUNT)


def test_nothing_is_right_without_a_token() -> None:
    with pytest.raises(SignatureError, match="not set up"):
        verify(form([("A", "1")]), PlivoAccount())


def test_a_token_proves_a_socket_unless_the_account_wants_more() -> None:
    bare = UpgradeRequest(url="wss://voice.example.test/ws/t", headers=[], has_token=True)
    verify_upgrade(bare, ACCOUNT)
    with pytest.raises(MissingProof):
        verify_upgrade(bare, account(auth_token=TOKEN, require_upgrade_signature=True))


NAMES = st.text(st.characters(codec="ascii", exclude_characters="\r\n"), min_size=1, max_size=8)


@given(
    fields=st.lists(st.tuples(NAMES, st.text(max_size=20)), max_size=5),
    query=st.lists(st.tuples(NAMES, NAMES), max_size=3),
)
def test_what_the_official_sdk_signs_is_right(fields: Pairs, query: Pairs) -> None:
    url = f"{BASE}/hook" + (f"?{urlencode(query)}" if query else "")
    body = urlencode(fields, errors="replace")
    sent = parse_qsl(body, keep_blank_values=True)
    signature = sign(url, sent)
    request = WebhookRequest(
        method="POST",
        url=url,
        headers=[(V3, signature), (NONCE, SALT), ("Content-Type", FORM)],
        body=body.encode(),
    )
    verify(request, ACCOUNT)


def test_the_sdk_judges_its_own_signature_as_we_do() -> None:
    fields = {"CallUUID": CALL_ID, "From": "14155550100"}
    url = f"{BASE}/hook?x=1"
    signature = sign(url, list(fields.items()))
    assert validate_v3_signature("POST", url, SALT, TOKEN, signature, dict(fields))
    verify(form(list(fields.items()), url=url, signature=signature), ACCOUNT)


@given(
    url=st.text() | st.text().map(lambda text: f"{BASE}/{text}"),
    signature=st.text(min_size=1),
    body=st.binary(max_size=50),
)
def test_any_request_is_refused_with_the_documented_error(
    url: str, signature: str, body: bytes
) -> None:
    headers = [(V3, signature), (NONCE, SALT), ("Content-Type", FORM)]
    request = WebhookRequest(method="POST", url=url, headers=headers, body=body)
    with suppress(AccessDenied):
        verify(request, ACCOUNT)
        raise AssertionError("chance has found a signature")


def test_captured_calls() -> None:
    call = parse_incoming(captured("inbound_answer"))
    assert (call.carrier_call_id, call.account_id) == (CALL_ID, AUTH_ID)
    assert (call.from_number, call.to_number) == ("+14155550100", "+13125550123")
    assert call.direction is Direction.INBOUND
    call = parse_incoming(captured("outbound_answer"))
    assert (call.direction, call.dial_id) == (Direction.OUTBOUND, CALL_ID)


@pytest.mark.parametrize(
    ("name", "event"),
    [
        ("outbound_ring", CallEvent.RINGING),
        ("outbound_answer", CallEvent.ANSWERED),
        ("hangup_completed", CallEvent.COMPLETED),
        ("hangup_busy", CallEvent.BUSY),
        ("hangup_no-answer", CallEvent.NO_ANSWER),
        ("hangup_timeout", CallEvent.NO_ANSWER),
        ("hangup_failed", CallEvent.FAILED),
    ],
)
def test_captured_statuses(name: str, event: CallEvent) -> None:
    changed = parse_event(captured(name))
    assert isinstance(changed, CallChanged)
    assert (changed.event, changed.account_id) == (event, AUTH_ID)


def test_captured_causes() -> None:
    completed, failed = (parse_event(captured(f"hangup_{how}")) for how in ("completed", "failed"))
    assert isinstance(completed, CallChanged)
    assert (completed.duration_s, completed.cause) == (37, "4000 Normal Hangup")
    assert isinstance(failed, CallChanged)
    assert failed.cause == "7011 Error Reaching Answer URL"


def test_captured_reports() -> None:
    amd = parse_event(captured("machine_detection"))
    assert isinstance(amd, AmdReported)
    assert amd.verdict is AmdVerdict.MACHINE
    dial = parse_event(captured("dial_action"))
    assert isinstance(dial, UnknownReport)
    for path in sorted(CAPTURES.glob("stream_*.form")):
        changed = parse_event(captured(path.stem))
        assert isinstance(changed, StreamChanged)
        assert changed.stream_id == "20170ada-f610-433b-8758-c02a2aab3662"
        assert changed.word.endswith("Stream")
        assert (changed.error == "connection_failed") is (changed.word == "DroppedStream")
