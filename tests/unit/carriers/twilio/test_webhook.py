from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import MultiDict
from twilio.request_validator import RequestValidator

from trunkline.carriers.twilio.account import TwilioAccount
from trunkline.carriers.twilio.webhook import (
    account_id,
    parse_event,
    parse_incoming,
    verify,
    verify_upgrade,
)
from trunkline.errors import InvalidRequest, MissingProof, SignatureError
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

CAPTURES = Path(__file__).parents[3] / "captures" / "twilio"
VECTORS = json.loads((CAPTURES / "signatures.json").read_text(encoding="utf-8"))["vectors"]

TOKEN = "0123456789abcdef0123456789abcdef"
ACCOUNT_SID = "AC00000000000000000000000000000001"
CALL_SID = "CA00000000000000000000000000000001"
STREAM_SID = "MZ00000000000000000000000000000001"
BASE = "https://voice.example.test"
FORM = "application/x-www-form-urlencoded"
SETTINGS = "X-Twilio-Webhooks-Signature-Settings"

ACCOUNT = TwilioAccount.model_validate({"account_sid": ACCOUNT_SID, "auth_token": TOKEN})


def account(**secrets: str) -> TwilioAccount:
    return TwilioAccount.model_validate({"account_sid": ACCOUNT_SID, **secrets})


def sign(url: str, fields: list[tuple[str, str]] | None = None, **options: Any) -> str:
    """Sign as the official SDK does."""
    validator = RequestValidator(options.pop("token", TOKEN))
    return validator.compute_signature(url, MultiDict(fields or []), **options)


def form(
    fields: list[tuple[str, str]],
    *,
    url: str = f"{BASE}/hook",
    signature: str | None = None,
    content_type: str = FORM,
    headers: tuple[tuple[str, str], ...] = (),
) -> WebhookRequest:
    signature = sign(url, fields) if signature is None else signature
    return WebhookRequest(
        method="POST",
        url=url,
        headers=[("x-twilio-signature", signature), ("Content-Type", content_type), *headers],
        body=urlencode(fields).encode(),
    )


def captured(name: str, **headers: str) -> WebhookRequest:
    return WebhookRequest(
        method="POST",
        url=f"{BASE}/hook",
        headers=[("content-type", f"{FORM}; charset=UTF-8"), *headers.items()],
        body=(CAPTURES / f"{name}.form").read_bytes(),
    )


def test_the_capture_has_both_kinds_of_vector() -> None:
    assert {vector["expect"] for vector in VECTORS} == {"valid", "invalid"}


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_signature_vectors(vector: dict[str, Any]) -> None:
    holder = account(auth_token=vector["auth_token"], shared_key_secret=vector["auth_token"])
    headers = list(vector["headers"].items())

    def check() -> None:
        if vector["kind"] == "websocket":
            verify_upgrade(UpgradeRequest(url=vector["url"], headers=headers), holder)
            return
        if vector["content_type"]:
            headers.append(("Content-Type", vector["content_type"]))
        body = vector["body"] or urlencode(vector["params"] or {}, doseq=True)
        request = WebhookRequest(
            method=vector["method"], url=vector["url"], headers=headers, body=body.encode()
        )
        verify(request, holder)

    if vector["name"] == "sharedkey-wrong-algorithm":
        # The vector shows what happens to a verifier that ignores the header; ours does not.
        check()
    elif vector["expect"] == "valid":
        check()
    else:
        with pytest.raises(SignatureError):
            check()


@pytest.mark.parametrize("method", ["GET", "get"])
def test_get_signs_the_url_alone(method: str) -> None:
    url = (
        f"{BASE}/telephony/twilio/inbound?CallSid={CALL_SID}&From=%2B14155550100&To=%2B15005550006"
    )
    headers = [("X-Twilio-Signature", "NqIc9C2oj35JYJkKpvz25WdmR6I=")]
    verify(WebhookRequest(method=method, url=url, headers=headers), ACCOUNT)
    with pytest.raises(SignatureError):
        verify(WebhookRequest(method=method, url=url + "0", headers=headers), ACCOUNT)


def test_a_get_with_a_body_that_nobody_signed_is_refused() -> None:
    url = f"{BASE}/hook?CallSid=CA1"
    request = WebhookRequest(
        method="GET", url=url, headers=[("X-Twilio-Signature", sign(url))], body=b"CallSid=CA2"
    )
    with pytest.raises(SignatureError):
        verify(request, ACCOUNT)


def test_no_signature_is_no_proof() -> None:
    with pytest.raises(MissingProof):
        verify(form([("A", "1")], signature=""), ACCOUNT)
    with pytest.raises(MissingProof):
        verify(WebhookRequest(method="GET", url=BASE, headers=[]), ACCOUNT)
    with pytest.raises(MissingProof):
        verify_upgrade(UpgradeRequest(url="wss://voice.example.test/ws", headers=[]), ACCOUNT)


@pytest.mark.parametrize(
    "signature", ["x", "ü", "\udcff", "L/OH5YylLD5NRKLltdqwSvS0BnU=", "=" * 9999]
)
def test_a_forged_signature_is_refused_and_names_the_url(signature: str) -> None:
    with pytest.raises(SignatureError) as caught:
        verify(form([("A", "1")], signature=signature), ACCOUNT)
    assert caught.value.signed_url == f"{BASE}/hook"


@pytest.mark.parametrize(
    ("ours", "signed"),
    [
        # Behind a proxy on another port Twilio still leaves https ports out.
        (f"{BASE}:8443/hook", f"{BASE}/hook"),
        (f"{BASE}:8443/hook", f"{BASE}:8443/hook"),
        (f"{BASE}/hook", f"{BASE}:443/hook"),
        ("http://localhost:8000/hook", "http://localhost:8000/hook"),
        ("http://voice.example.test/hook", "http://voice.example.test:80/hook"),
        ("https://user:pass@voice.example.test/hook", f"{BASE}/hook"),
        ("https://user:p@ss@voice.example.test:8443/hook", f"{BASE}/hook"),
        (f"{BASE}/hook?x=1#rc=3&rp=all", f"{BASE}/hook?x=1"),
        (f"{BASE}#rc=3", BASE),
        (f"{BASE}?a=b", f"{BASE}?a=b"),
        ("https://[2001:db8::1]:8443/hook", "https://[2001:db8::1]/hook"),
        ("https://[2001:db8::1]/hook", "https://[2001:db8::1]:443/hook"),
        # Byte for byte: nothing is decoded, ordered or dropped.
        (f"{BASE}/a%20b/%7Ec?z=1&a=%2b&a=&&", f"{BASE}/a%20b/%7Ec?z=1&a=%2b&a=&&"),
        (f"{BASE}/hook?", f"{BASE}/hook?"),
        (f"{BASE}/hook?a=b@c:d", f"{BASE}/hook?a=b@c:d"),
        ("other://voice.example.test/hook", "other://voice.example.test/hook"),
    ],
)
def test_urls_in_every_form_that_twilio_signs(ours: str, signed: str) -> None:
    fields = [("CallSid", CALL_SID)]
    verify(form(fields, url=ours, signature=sign(signed, fields)), ACCOUNT)


@pytest.mark.parametrize(
    ("ours", "signed"),
    [
        (f"{BASE}/hook", "http://voice.example.test/hook"),
        (f"{BASE}/hook", f"{BASE}/hook/"),
        (f"{BASE}/hook", f"{BASE}/Hook"),
        (f"{BASE}/hook?a=1&b=2", f"{BASE}/hook?b=2&a=1"),
        (f"{BASE}/hook", f"{BASE}:8443/hook"),
        (f"{BASE}/hook?a=%20", f"{BASE}/hook?a=+"),
    ],
)
def test_another_url_is_another_request(ours: str, signed: str) -> None:
    fields = [("CallSid", CALL_SID)]
    with pytest.raises(SignatureError):
        verify(form(fields, url=ours, signature=sign(signed, fields)), ACCOUNT)


@pytest.mark.parametrize("url", ["", "hook", "/hook", "https:/x", "https://[::1/hook", "://x"])
def test_what_is_no_url_is_refused(url: str) -> None:
    request = WebhookRequest(method="GET", url=url, headers=[("X-Twilio-Signature", "x")])
    with pytest.raises(SignatureError):
        verify(request, ACCOUNT)
    with pytest.raises(SignatureError):
        verify_upgrade(UpgradeRequest(url=url, headers=[("X-Twilio-Signature", "x")]), ACCOUNT)


def test_blanks_duplicates_and_spaces_are_signed_as_they_are() -> None:
    fields = [("Digits", "2"), ("Digits", "1"), ("Digits", "2"), ("ToCity", ""), ("Name", " ü+& ")]
    verify(form(fields), ACCOUNT)
    for tampered in (fields[1:3], [*fields, ("New", "")], [*fields[:-1], ("Name", "ü+&")]):
        with pytest.raises(SignatureError):
            verify(form(tampered, signature=sign(f"{BASE}/hook", fields)), ACCOUNT)


def test_a_post_without_anything_is_an_empty_form() -> None:
    url = f"{BASE}/hook"
    verify(
        WebhookRequest(method="POST", url=url, headers=[("X-Twilio-Signature", sign(url))]), ACCOUNT
    )


@pytest.mark.parametrize("body", [b"a=\xff", b"a=%ff"])
def test_a_form_that_is_no_utf8(body: bytes) -> None:
    headers = [("X-Twilio-Signature", "x"), ("Content-Type", FORM)]
    request = WebhookRequest(method="POST", url=f"{BASE}/hook", headers=headers, body=body)
    with pytest.raises(SignatureError):
        verify(request, ACCOUNT)
    with pytest.raises(InvalidRequest):
        parse_event(request)
    assert account_id(request) is None


def json_request(
    body: bytes, query: str, *, content_type: str = "application/json"
) -> WebhookRequest:
    url = f"{BASE}/hook{query}"
    headers = [("X-Twilio-Signature", sign(url)), ("Content-Type", content_type)]
    return WebhookRequest(method="POST", url=url, headers=headers, body=body)


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", ""])
def test_a_body_that_is_no_form_must_be_named_by_its_hash(content_type: str) -> None:
    body = b'{"CallSid":"CA1"}'
    right = hashlib.sha256(body).hexdigest()
    verify(json_request(body, f"?bodySHA256={right}", content_type=content_type), ACCOUNT)
    for query in ("", "?bodySHA256=", f"?bodySHA256={right.upper()}", f"?bodysha256={right}"):
        with pytest.raises(SignatureError):
            verify(json_request(body, query, content_type=content_type), ACCOUNT)
    with pytest.raises(SignatureError):
        verify(
            json_request(body + b" ", f"?bodySHA256={right}", content_type=content_type), ACCOUNT
        )


def test_an_empty_body_of_another_type_needs_no_hash() -> None:
    verify(json_request(b"", ""), ACCOUNT)


def test_both_tokens_are_tried_while_one_is_rotated() -> None:
    fields = [("CallSid", CALL_SID)]
    rotating = account(auth_token="new", secondary_auth_token=TOKEN)
    verify(form(fields), rotating)
    verify(form(fields, signature=sign(f"{BASE}/hook", fields, token="new")), rotating)
    with pytest.raises(SignatureError):
        verify(form(fields), account(auth_token="new"))


def test_without_a_token_nothing_is_right() -> None:
    fields = [("CallSid", CALL_SID)]
    with pytest.raises(SignatureError, match="not set up"):
        verify(form(fields, signature=sign(f"{BASE}/hook", fields, token="")), account())


@pytest.mark.parametrize("algorithm", ["HMAC_SHA1", "HMAC_SHA256"])
def test_a_shared_key_signs_with_its_own_secret(algorithm: str) -> None:
    fields = [("CallSid", CALL_SID)]
    holder = account(auth_token=TOKEN, shared_key_secret="shared")
    settings = ((SETTINGS, f"key=webhooks_sharedkey_1, algorithm={algorithm}"),)
    signed = sign(f"{BASE}/hook", fields, token="shared", algorithm=algorithm)
    verify(form(fields, signature=signed, headers=settings), holder)
    with pytest.raises(SignatureError):
        verify(form(fields, signature=signed), holder)
    with pytest.raises(SignatureError, match="not set up"):
        verify(form(fields, signature=signed, headers=settings), ACCOUNT)
    by_token = sign(f"{BASE}/hook", fields, algorithm=algorithm)
    with pytest.raises(SignatureError):
        verify(form(fields, signature=by_token, headers=settings), holder)


@pytest.mark.parametrize("value", ["", "algorithm=", "nonsense", ","])
def test_settings_that_say_nothing_change_nothing(value: str) -> None:
    verify(form([("A", "1")], headers=((SETTINGS, value),)), ACCOUNT)


@pytest.mark.parametrize("algorithm", ["HMAC_MD5", "none"])
def test_an_unknown_algorithm_is_refused(algorithm: str) -> None:
    with pytest.raises(SignatureError, match="algorithm"):
        verify(form([("A", "1")], headers=((SETTINGS, f"algorithm={algorithm}"),)), ACCOUNT)


@given(
    fields=st.lists(
        st.tuples(
            st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
            st.text(st.characters(exclude_categories=["Cs"])),
        ),
        max_size=8,
    ),
    path=st.from_regex(r"(/[A-Za-z0-9._~%-]{1,8}){1,3}(\?[a-z0-9=&%+]{1,20})?", fullmatch=True),
    port=st.sampled_from(["", ":443", ":8443"]),
    algorithm=st.sampled_from(["HMAC_SHA1", "HMAC_SHA256"]),
)
def test_what_the_official_sdk_signs_is_right(
    fields: list[tuple[str, str]], path: str, port: str, algorithm: str
) -> None:
    url = f"{BASE}{port}{path}"
    signature = sign(url, fields, algorithm=algorithm)
    settings = ((SETTINGS, f"algorithm={algorithm}"),)
    verify(form(fields, url=url, signature=signature, headers=settings), ACCOUNT)
    # What we take, the SDK takes.
    assert RequestValidator(TOKEN).validate(url, MultiDict(fields), signature, algorithm)


REQUESTS = st.builds(
    WebhookRequest,
    method=st.sampled_from(["GET", "POST", "PUT", "get", ""]),
    url=st.text() | st.from_regex(r"https://[^/]{0,9}/[^ ]{0,20}", fullmatch=True),
    headers=st.lists(
        st.tuples(
            st.sampled_from(["X-Twilio-Signature", "Content-Type", SETTINGS]),
            st.text() | st.sampled_from([FORM, "application/json", "key=a,algorithm=HMAC_SHA256"]),
        ),
        max_size=4,
    ),
    body=st.binary()
    | st.dictionaries(
        st.sampled_from(
            ["CallSid", "AccountSid", "CallStatus", "StreamEvent", "AnsweredBy", "SequenceNumber"]
        ),
        st.text(st.characters(exclude_categories=["Cs"]))
        | st.sampled_from([CALL_SID, "completed"]),
    ).map(lambda fields: urlencode(fields).encode()),
)


@given(request=REQUESTS)
def test_any_request_gives_an_event_or_a_documented_error(request: WebhookRequest) -> None:
    with pytest.raises((MissingProof, SignatureError)):
        verify(request, account(auth_token=TOKEN, shared_key_secret="s"))
    with suppress(InvalidRequest):
        parse_event(request)
    with suppress(InvalidRequest):
        parse_incoming(request)
    account_id(request)
    upgrade = UpgradeRequest(url=request.url, headers=request.headers)
    with pytest.raises((MissingProof, SignatureError)):
        verify_upgrade(upgrade, ACCOUNT)


STREAM_URL = "wss://voice.example.test/telephony/twilio/ws/tok_0123456789abcdef"


@pytest.mark.parametrize(
    ("url", "signature"),
    [
        (STREAM_URL, "rRzc+QxUtwuv7k9mnUkhpleAO6A="),
        (STREAM_URL, "JQ08hfIQw1x8q7CJxKUwYGlVrXw="),
        (STREAM_URL + "/", "JQ08hfIQw1x8q7CJxKUwYGlVrXw="),
        ("wss://voice.example.test:8443/ws", sign("wss://voice.example.test/ws")),
        ("ws://localhost:8000/ws", sign("ws://localhost:8000/ws")),
    ],
)
def test_upgrades(url: str, signature: str) -> None:
    verify_upgrade(UpgradeRequest(url=url, headers=[("x-twilio-signature", signature)]), ACCOUNT)


@pytest.mark.parametrize(
    ("url", "signature"),
    [
        (STREAM_URL, sign(STREAM_URL.replace("wss:", "https:"))),
        (STREAM_URL, sign(STREAM_URL + "x")),
        (STREAM_URL, sign(STREAM_URL, token="another")),
        (STREAM_URL + "/", sign(STREAM_URL)),
    ],
)
def test_forged_upgrades(url: str, signature: str) -> None:
    with pytest.raises(SignatureError):
        verify_upgrade(
            UpgradeRequest(url=url, headers=[("x-twilio-signature", signature)]), ACCOUNT
        )


def test_account_id() -> None:
    assert account_id(captured("inbound_voice")) == ACCOUNT_SID
    get = WebhookRequest(method="GET", url=f"{BASE}/?AccountSid=AC7", headers=[])
    assert account_id(get) == "AC7"
    assert account_id(form([("AccountSid", "")])) is None
    assert account_id(json_request(b"{}", "")) is None


def test_an_inbound_call() -> None:
    call = parse_incoming(captured("inbound_voice", **{"I-Twilio-Idempotency-Token": "t1"}))
    assert (call.carrier_call_id, call.account_id) == (CALL_SID, ACCOUNT_SID)
    assert call.direction is Direction.INBOUND
    assert (call.from_number, call.to_number) == ("+14155550100", "+15005550006")
    assert (call.answered_by, call.delivery_id) == (None, "t1")
    assert call.raw["StirVerstat"] == "TN-Validation-Passed-A"
    assert call.raw["ToCity"] == ""


def test_an_inbound_call_by_get_is_the_same() -> None:
    body = (CAPTURES / "inbound_voice.form").read_text(encoding="utf-8")
    get = WebhookRequest(method="GET", url=f"{BASE}/hook?{body}", headers=[])
    assert parse_incoming(get) == parse_incoming(captured("inbound_voice"))


@pytest.mark.parametrize(
    ("name", "answered_by"),
    [("outbound_answer_url", None), ("outbound_answer_url_sync_amd", "machine_end_beep")],
)
def test_an_answered_outbound_call(name: str, answered_by: str | None) -> None:
    call = parse_incoming(captured(name))
    assert call.direction is Direction.OUTBOUND
    assert (call.from_number, call.to_number) == ("+15005550006", "+14155550100")
    assert call.answered_by == answered_by


def test_a_caller_without_a_number() -> None:
    fields = [("CallSid", CALL_SID), ("AccountSid", ACCOUNT_SID), ("From", "")]
    call = parse_incoming(form(fields))
    assert (call.from_number, call.to_number, call.direction) == (
        "anonymous",
        "",
        Direction.INBOUND,
    )


@pytest.mark.parametrize("field", ["CallSid", "AccountSid"])
@pytest.mark.parametrize("value", ["", "CA", "../../x", "CA" + "0" * 63, "CA1\n", "ca1"])
def test_ids_that_are_none(field: str, value: str) -> None:
    fields = {"CallSid": CALL_SID, "AccountSid": ACCOUNT_SID, field: value}
    for parse in (parse_incoming, parse_event):
        with pytest.raises(InvalidRequest) as caught:
            parse(form(list(fields.items())))
        assert caught.value.field == field


@pytest.mark.parametrize("parse", [parse_incoming, parse_event])
def test_only_forms_are_parsed(parse: Any) -> None:
    with pytest.raises(InvalidRequest):
        parse(json_request(b'{"CallSid":"CA1"}', ""))


@pytest.mark.parametrize(
    ("name", "event", "sequence", "cause", "duration_s"),
    [
        ("status_0_initiated", CallEvent.INITIATED, 0, "", None),
        ("status_1_ringing", CallEvent.RINGING, 1, "", None),
        ("status_2_answered", CallEvent.ANSWERED, 2, "", None),
        ("status_3_completed", CallEvent.COMPLETED, 3, "200", 37),
        ("status_final_busy", CallEvent.BUSY, 2, "486", 0),
        ("status_final_no-answer", CallEvent.NO_ANSWER, 2, "487", 0),
        ("status_final_canceled", CallEvent.CANCELED, 2, "487", 0),
        ("status_final_failed", CallEvent.FAILED, 2, "404", 0),
    ],
)
def test_call_status(
    name: str, event: CallEvent, sequence: int, cause: str, duration_s: int | None
) -> None:
    changed = parse_event(captured(name, **{"i-twilio-idempotency-token": "t2"}))
    assert isinstance(changed, CallChanged)
    assert (changed.event, changed.sequence, changed.cause) == (event, sequence, cause)
    assert (changed.duration_s, changed.delivery_id) == (duration_s, "t2")
    assert (changed.from_number, changed.to_number) == ("+15005550006", "+14155550100")
    assert changed.carrier_word == changed.raw["CallStatus"]


def test_an_unknown_status_is_kept() -> None:
    fields = [("CallSid", CALL_SID), ("AccountSid", ACCOUNT_SID), ("CallStatus", "teleported")]
    changed = parse_event(form([*fields, ("SequenceNumber", "x"), ("AnsweredBy", "human")]))
    assert isinstance(changed, CallChanged)
    assert (changed.event, changed.carrier_word) == (CallEvent.UNKNOWN, "teleported")
    assert (changed.sequence, changed.answered_by) == (None, "human")


@pytest.mark.parametrize(
    ("word", "verdict"),
    [
        ("human", AmdVerdict.HUMAN),
        ("machine_start", AmdVerdict.MACHINE),
        ("machine_end_beep", AmdVerdict.MACHINE),
        ("machine_end_silence", AmdVerdict.MACHINE),
        ("machine_end_other", AmdVerdict.MACHINE),
        ("fax", AmdVerdict.FAX),
        ("unknown", AmdVerdict.UNKNOWN),
        ("robot", AmdVerdict.UNKNOWN),
    ],
)
def test_asynchronous_amd(word: str, verdict: AmdVerdict) -> None:
    fields = dict(parse_qsl((CAPTURES / "amd_async.form").read_text(encoding="utf-8")))
    reported = parse_event(form(list({**fields, "AnsweredBy": word}.items())))
    assert isinstance(reported, AmdReported)
    assert (reported.verdict, reported.carrier_word) == (verdict, word)
    assert reported.duration_ms == 2410


@pytest.mark.parametrize(
    ("word", "error"),
    [
        ("stream-started", ""),
        ("stream-stopped", ""),
        ("stream-error", "31921 - Stream - WebSocket - Close Error"),
    ],
)
def test_stream_status(word: str, error: str) -> None:
    changed = parse_event(captured(f"stream_{word}"))
    assert isinstance(changed, StreamChanged)
    assert (changed.word, changed.error, changed.stream_id) == (word, error, STREAM_SID)
    assert changed.carrier_call_id == CALL_SID


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("recording_completed", "RecordingStatus=completed"),
        ("dial_action", "DialCallStatus=no-answer"),
    ],
)
def test_other_callbacks_are_kept(name: str, word: str) -> None:
    report = parse_event(captured(name))
    assert isinstance(report, UnknownReport)
    assert (report.word, report.carrier_call_id, report.account_id) == (word, CALL_SID, ACCOUNT_SID)


def test_a_callback_that_says_nothing_is_kept() -> None:
    report = parse_event(form([("CallSid", CALL_SID), ("AccountSid", ACCOUNT_SID), ("New", "x")]))
    assert isinstance(report, UnknownReport)
    assert (report.word, report.raw["New"]) == ("", "x")
