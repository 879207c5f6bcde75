from __future__ import annotations

import base64
import hashlib
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from vonage_jwt import verify_signature

from trunkline.carriers.twilio.account import TwilioAccount
from trunkline.carriers.vonage.account import VonageAccount
from trunkline.carriers.vonage.webhook import (
    FUTURE_S,
    MAX_AGE_S,
    account_id,
    is_report,
    nonce,
    normalise_number,
    normalise_uuid,
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

CAPTURES = Path(__file__).parents[3] / "captures" / "vonage"
SIGNATURES = json.loads((CAPTURES / "signatures.json").read_text(encoding="utf-8"))
EVENTS = [
    json.loads(line)
    for line in (CAPTURES / "events.jsonl").read_text(encoding="utf-8").splitlines()
]

SECRET = "vonage-signature-secret-" + "0123456789abcdef" * 3  # as long as HS512 wants it
API_KEY = "a1b2c3d"
APPLICATION_ID = "aaaaaaaa-bbbb-cccc-dddd-0123456789ab"
CALL_UUID = "aaaaaaaa-bbbb-cccc-dddd-000000000001"
SOCKET_UUID = "aaaaaaaa-bbbb-cccc-dddd-0000000000ff"
NOW_S = 1_790_000_000
URL = "https://voice.example.test/telephony/vonage/events/c1"
STREAM_URL = "wss://voice.example.test/ws/vonage/desk/call.1.mac"


def account(**fields: object) -> VonageAccount:
    return VonageAccount.model_validate(
        {
            "api_key": API_KEY,
            "signature_secret": SECRET,
            "application_id": APPLICATION_ID,
            **fields,
        }
    )


ACCOUNT = account()


def claims(body: bytes = b"", **changes: object) -> dict[str, object]:
    found: dict[str, object] = {
        "iat": NOW_S,
        "jti": "c5ba8f24-1a14-4c10-bfdf-3fbe8ce511b5",
        "iss": "Vonage",
        "payload_hash": hashlib.sha256(body).hexdigest(),
        "api_key": API_KEY,
        "application_id": APPLICATION_ID,
        **changes,
    }
    return {name: value for name, value in found.items() if value is not ...}


def token(body: bytes = b"", *, secret: str = SECRET, alg: str = "HS256", **changes: object) -> str:
    return jwt.encode(claims(body, **changes), secret, algorithm=alg)


def request(
    body: bytes | dict[str, Any] = b"{}",
    *,
    method: str = "POST",
    url: str = URL,
    authorization: str | None = None,
    now_s: float = NOW_S,
    **changes: object,
) -> WebhookRequest:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = f"Bearer {token(raw, **changes)}" if authorization is None else authorization
    return WebhookRequest(
        method=method,
        url=url,
        headers=[("Content-Type", "application/json"), ("authorization", given)],
        body=raw,
        received_at_s=now_s,
    )


def captured(name: str) -> dict[str, Any]:
    return json.loads((CAPTURES / f"{name}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", SIGNATURES["webhook_cases"], ids=lambda case: case["name"])
def test_signature_vectors(case: dict[str, Any]) -> None:
    received = WebhookRequest(
        method=case["method"],
        url=case["url"],
        headers=list(case["headers"].items()),
        body=case["body"].encode(),
        received_at_s=case["now"],
    )
    holder = account(signature_secret=case["signature_secret"], **case["expected"])
    if case["valid"]:
        verify(received, holder)
    else:
        with pytest.raises((MissingProof, SignatureError)):
            verify(received, holder)


HANDSHAKES = {case["name"]: case for case in SIGNATURES["websocket_handshake"]}


@pytest.mark.parametrize("name", HANDSHAKES)
def test_handshake_vectors(name: str) -> None:
    case = HANDSHAKES[name]
    upgrade = UpgradeRequest(
        url=STREAM_URL,
        headers=list(case["headers"].items()),
        received_at_s=case.get("now", NOW_S),
    )
    # A value of the user's own choice is no proof of Vonage's: we never ask for one.
    holder = account(signature_secret=case.get("signature_secret", SECRET))
    if case["valid"] and "expected_value" not in case:
        verify_upgrade(upgrade, holder)
    else:
        with pytest.raises(SignatureError):
            verify_upgrade(upgrade, holder)


def test_the_official_sdk_agrees_about_the_signature() -> None:
    vector = SIGNATURES["sdk_vector"]
    assert verify_signature(vector["token"], vector["valid_secret"])
    # Rightly signed, but by nobody who calls themselves Vonage: no claim of theirs is in it.
    holder = account(signature_secret=vector["valid_secret"])
    with pytest.raises(SignatureError, match="MissingRequiredClaim"):
        verify(request(authorization=f"Bearer {vector['token']}"), holder)


@pytest.mark.filterwarnings("ignore::jwt.InsecureKeyLengthWarning")
def test_the_official_sdks_wrong_secret_is_wrong_here_too() -> None:
    vector = SIGNATURES["sdk_vector"]
    assert not verify_signature(vector["token"], vector["invalid_secret"])
    holder = account(signature_secret=vector["invalid_secret"])
    with pytest.raises(SignatureError, match="InvalidSignature"):
        verify(request(authorization=f"Bearer {vector['token']}"), holder)


@given(body=st.binary(), secret=st.text(st.characters(codec="ascii", categories="L"), min_size=32))
def test_what_we_take_the_official_sdk_takes(body: bytes, secret: str) -> None:
    signed = token(body, secret=secret, iat=1_700_000_000)
    verify(
        request(body, authorization=f"Bearer {signed}", now_s=1_700_000_000),
        account(signature_secret=secret),
    )
    assert verify_signature(signed, secret)
    with pytest.raises(SignatureError):
        verify(
            request(body + b"x", authorization=f"Bearer {signed}", now_s=1_700_000_000),
            account(signature_secret=secret),
        )


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "vonage"},
        {"iss": ...},
        {"iat": ...},
        {"iat": str(NOW_S)},
        {"iat": True},
        {"iat": 10**400},
        {"jti": ...},
        {"jti": 7},
        {"api_key": "other"},
        {"api_key": ...},
        {"api_key": None},
        {"application_id": "aaaaaaaa-bbbb-cccc-dddd-0000000000ff"},
        {"application_id": 7},
        {"payload_hash": ...},
        {"payload_hash": None},
        {"payload_hash": ""},
        {"payload_hash": hashlib.sha256(b"{}").hexdigest().upper()},
        {"iat": NOW_S - MAX_AGE_S - 1},
        {"iat": NOW_S + FUTURE_S + 1},
        {"exp": NOW_S - FUTURE_S},
        {"exp": "never"},
        {"nbf": NOW_S + FUTURE_S + 1},
        {"nbf": []},
        {"alg": "HS512"},
        {"alg": "HS384"},
        {"secret": SECRET[::-1]},
    ],
    ids=str,
)
def test_forged_and_stale(changes: dict[str, Any]) -> None:
    with pytest.raises(SignatureError) as caught:
        verify(request(**changes), ACCOUNT)
    assert caught.value.signed_url == URL


@pytest.mark.parametrize(
    "changes",
    [
        {"iat": NOW_S - MAX_AGE_S},
        {"iat": NOW_S + FUTURE_S},
        {"iat": float(NOW_S)},
        {"exp": NOW_S - FUTURE_S + 1, "nbf": NOW_S + FUTURE_S},
        {"application_id": ...},
        {"application_id": APPLICATION_ID.upper()},
        {"aud": "someone"},
    ],
    ids=str,
)
def test_still_right(changes: dict[str, Any]) -> None:
    verify(request(**changes), ACCOUNT)


def test_a_request_without_a_time_is_refused() -> None:
    with pytest.raises(SignatureError, match="too old or not valid yet"):
        verify(request(now_s=0.0), ACCOUNT)


@pytest.mark.parametrize("authorization", ["", None])
def test_without_a_token(authorization: str | None) -> None:
    headers = [] if authorization is None else [("Authorization", authorization)]
    received = WebhookRequest(
        method="POST", url=URL, headers=headers, body=b"{}", received_at_s=NOW_S
    )
    with pytest.raises(MissingProof):
        verify(received, ACCOUNT)
    assert account_id(received) is None
    assert nonce(received) is None


NESTED = base64.urlsafe_b64encode(b"[" * 20000).decode().rstrip("=")


@pytest.mark.parametrize(
    "authorization",
    [
        "Bearer",
        "Bearer ",
        "Basic YTpi",
        token(),
        "Bearer a.b",
        "Bearer a.b.c",
        "Bearer ü.ü.ü",
        f"Bearer {NESTED}.{NESTED}.x",
        f"Bearer {token().rpartition('.')[0]}.",
        f"Bearer {token()}x",
    ],
    ids=lambda text: text[:20],
)
def test_tokens_that_are_none(authorization: str) -> None:
    with pytest.raises(SignatureError):
        verify(request(authorization=authorization), ACCOUNT)


@pytest.mark.parametrize("authorization", ["bearer {}", "BEARER {}", " Bearer  {} "])
def test_ways_to_write_the_header(authorization: str) -> None:
    verify(request(authorization=authorization.format(token(b"{}"))), ACCOUNT)


@pytest.mark.parametrize("fields", [{}, {"api_key": API_KEY}, {"signature_secret": SECRET}])
def test_without_the_secret_nothing_is_right(fields: dict[str, str]) -> None:
    holder = VonageAccount.model_validate(fields)
    with pytest.raises(SignatureError, match="not set up"):
        verify(request(), holder)


def test_another_carriers_account_is_a_bug() -> None:
    other = TwilioAccount()
    with pytest.raises(TypeError):
        verify(request(), other)


def test_an_empty_body_needs_no_hash_but_a_wrong_one_is_wrong() -> None:
    verify(request(b"", payload_hash=...), ACCOUNT)
    verify(request(b""), ACCOUNT)
    with pytest.raises(SignatureError):
        verify(request(b"", payload_hash="00"), ACCOUNT)


def test_the_bytes_are_hashed_and_not_their_meaning() -> None:
    signed = token(b'{"a":1}')
    with pytest.raises(SignatureError):
        verify(request(b'{"a": 1}', authorization=f"Bearer {signed}"), ACCOUNT)


QUERY = captured("answer_get_query")["query"]


def test_a_get_is_refused_unless_the_account_says_otherwise() -> None:
    url = f"{URL}?{QUERY}"
    compact = json.dumps(
        dict(pair.split("=") for pair in QUERY.split("&")), separators=(",", ":")
    ).encode()
    received = request(b"", method="GET", url=url, authorization=f"Bearer {token(compact)}")
    with pytest.raises(SignatureError, match="GET"):
        verify(received, ACCOUNT)
    holder = account(signed_queries=True)
    verify(received, holder)
    for forged in (token(), token(compact, payload_hash=...)):
        with pytest.raises(SignatureError):
            verify(request(b"", method="GET", url=url, authorization=f"Bearer {forged}"), holder)
    call = parse_incoming(received)
    assert (call.carrier_call_id, call.from_number) == (CALL_UUID, "+447700900000")


def upgrade(authorization: str | None, *, has_token: bool = True) -> UpgradeRequest:
    headers = [] if authorization is None else [("authorization", authorization)]
    return UpgradeRequest(url=STREAM_URL, headers=headers, received_at_s=NOW_S, has_token=has_token)


@pytest.mark.parametrize("payload_hash", [..., "00"])
def test_upgrades_are_signed_without_a_body(payload_hash: object) -> None:
    verify_upgrade(upgrade(f"Bearer {token(payload_hash=payload_hash)}"), ACCOUNT)


@pytest.mark.parametrize("changes", [{"iat": NOW_S - 301}, {"secret": "x" * 40}, {"api_key": "x"}])
@pytest.mark.parametrize("signed_upgrades", [True, False])
def test_forged_upgrades(changes: dict[str, Any], signed_upgrades: bool) -> None:
    with pytest.raises(SignatureError):
        verify_upgrade(
            upgrade(f"Bearer {token(**changes)}"), account(signed_upgrades=signed_upgrades)
        )


def test_an_upgrade_without_a_token_of_vonages() -> None:
    with pytest.raises(MissingProof):
        verify_upgrade(upgrade(None), ACCOUNT)
    lenient = account(signed_upgrades=False)
    verify_upgrade(upgrade(None), lenient)
    # A static URL has no other proof.
    with pytest.raises(MissingProof):
        verify_upgrade(upgrade(None, has_token=False), lenient)


def test_what_the_token_names() -> None:
    received = request()
    assert account_id(received) == API_KEY
    assert nonce(received) == "c5ba8f24-1a14-4c10-bfdf-3fbe8ce511b5"
    assert account_id(request(api_key=7)) is None


def test_an_inbound_call() -> None:
    call = parse_incoming(request(captured("answer_post")["body"]))
    # Written without dashes there, and with them in every other place.
    assert call.carrier_call_id == CALL_UUID
    assert (call.account_id, call.direction) == (API_KEY, Direction.INBOUND)
    assert (call.from_number, call.to_number) == ("+447700900000", "+442079460000")
    assert call.raw["region_url"] == "https://api-eu-3.vonage.com"
    assert call.raw["SipHeader_X-Tenant"] == "acme"
    assert call.raw["from_user"] == "null"


def test_the_fallback_url_asks_the_same() -> None:
    call = parse_incoming(request(captured("fallback_answer_post")["body"]))
    assert call.carrier_call_id == CALL_UUID
    assert json.loads(call.raw["original_request"])["type"] == "answer"


@pytest.mark.parametrize(
    ("fields", "from_number"),
    [
        ({"from": "anonymous"}, "anonymous"),
        ({"from": ""}, "anonymous"),
        ({"from": None, "from_user": "JaneDoe"}, "JaneDoe"),
        ({"from": "sip:a@example.test"}, "sip:a@example.test"),
        ({"from": "Trunkline"}, "Trunkline"),
        ({"from": 447700900000}, "anonymous"),
    ],
)
def test_callers_without_a_number(fields: dict[str, Any], from_number: str) -> None:
    call = parse_incoming(request({"uuid": CALL_UUID, **fields}))
    assert (call.from_number, call.to_number) == (from_number, "")


def test_an_answered_outbound_call() -> None:
    call = parse_incoming(
        request({"uuid": CALL_UUID, "direction": "outbound", "to": "447700900000"})
    )
    assert (call.direction, call.to_number) == (Direction.OUTBOUND, "+447700900000")


SOCKET_EVENT = {
    "to": "wss://voice.example.test/ws/vonage/desk/t",
    "from": "442079460000",
    "uuid": SOCKET_UUID,
    "status": "disconnected",
    "direction": "outbound",
}


@pytest.mark.parametrize(
    ("fields", "call_id"),
    [
        ({**SOCKET_EVENT, "headers": {"vonage_call_sid": CALL_UUID}}, CALL_UUID),
        ({**SOCKET_EVENT, "headers": {"call_uuid": CALL_UUID.replace("-", "")}}, CALL_UUID),
        ({**SOCKET_EVENT, "headers": {}}, ""),
        ({**SOCKET_EVENT, "headers": None}, ""),
        ({"payload": {"call_uuid": CALL_UUID}, "conversation_uuid": "CON-1"}, CALL_UUID),
        ({"payload": "x"}, ""),
    ],
)
def test_what_comes_next_is_asked_for_a_call_that_our_own_words_name(
    fields: dict[str, Any], call_id: str
) -> None:
    received = request(fields)
    assert not is_report(received)
    assert parse_incoming(received).carrier_call_id == call_id


@pytest.mark.parametrize("status", ["started", "ringing", "answered", "completed", "new", 5])
def test_other_events_of_the_socket_ask_for_nothing(status: object) -> None:
    assert is_report(request({**SOCKET_EVENT, "status": status}))


@pytest.mark.parametrize("status", ["failed", "unanswered", "disconnected"])
def test_a_socket_that_ends_or_fails_asks(status: str) -> None:
    assert not is_report(request({**SOCKET_EVENT, "status": status}))


@pytest.mark.parametrize("value", ["", "../../x", "a" * 65, "a\n", 7, None])
@pytest.mark.parametrize("fields", [{}, {"status": "answered"}, SOCKET_EVENT])
def test_ids_that_are_none(value: object, fields: dict[str, Any]) -> None:
    received = request({**fields, "uuid": value})
    if "to" not in fields:
        with pytest.raises(InvalidRequest) as caught:
            parse_incoming(received)
        assert caught.value.field == "uuid"
    if "status" in fields:
        with pytest.raises(InvalidRequest):
            parse_event(received)


@pytest.mark.parametrize("body", [b"", b"x", b"[]", b"null", b"\xff", b"[" * 5000])
@pytest.mark.parametrize("parse", [parse_incoming, parse_event, is_report])
def test_only_json_objects_are_parsed(parse: Any, body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        parse(request(body))


EXPECTED = [
    ("started", CallEvent.INITIATED),
    ("ringing", CallEvent.RINGING),
    ("answered", CallEvent.ANSWERED),
    ("busy", CallEvent.BUSY),
    ("cancelled", CallEvent.CANCELED),
    ("unanswered", CallEvent.NO_ANSWER),
    ("rejected", CallEvent.REJECTED),
    ("failed", CallEvent.FAILED),
    ("timeout", CallEvent.NO_ANSWER),
    ("completed", CallEvent.COMPLETED),
]


def test_captured_callbacks() -> None:
    """Every captured line: the call's own, its media socket's, detection, and the rest."""
    phone, socket, verdicts, unknown = [], [], [], []
    for fields in EVENTS:
        event = parse_event(request(fields))
        assert event.account_id == API_KEY
        match event:
            case CallChanged():
                assert event.carrier_call_id == CALL_UUID
                phone.append((event.carrier_word, event.event))
            case StreamChanged():
                assert (event.carrier_call_id, event.stream_id) == ("", SOCKET_UUID)
                socket.append(event.word)
            case AmdReported():
                assert event.carrier_call_id == CALL_UUID
                verdicts.append((event.verdict, event.carrier_word))
            case UnknownReport():
                unknown.append((event.word, event.carrier_call_id))
    assert phone == EXPECTED
    assert socket == ["started", "answered", "disconnected"]
    assert verdicts == [(AmdVerdict.MACHINE, "machine beep_start"), (AmdVerdict.HUMAN, "human")]
    assert unknown == [("transfer", CALL_UUID), ("error", "")]


def test_the_end_of_a_call() -> None:
    (fields,) = [fields for fields in EVENTS if fields.get("status") == "completed"]
    changed = parse_event(request(fields))
    assert isinstance(changed, CallChanged)
    assert changed.duration_s == 62
    assert (changed.from_number, changed.to_number) == ("+447700900000", "+442079460000")
    assert changed.raw["price"] == "0.00744000"
    assert changed.sequence is None


@pytest.mark.parametrize(
    ("duration", "seconds"),
    [
        ("62", 62),
        (62, 62),
        ("-1", None),
        ("6.2", None),
        (True, None),
        ("9" * 19, None),
        (None, None),
    ],
)
def test_durations(duration: object, seconds: int | None) -> None:
    fields = {"uuid": CALL_UUID, "status": "completed", "duration": duration}
    changed = parse_event(request(fields))
    assert isinstance(changed, CallChanged)
    assert changed.duration_s == seconds


def test_the_reason_of_a_failure_is_kept() -> None:
    changed = parse_event(
        request({"uuid": CALL_UUID, "status": "failed", "detail": "cannot_route"})
    )
    assert isinstance(changed, CallChanged)
    assert changed.cause == "cannot_route"


def test_a_socket_that_failed() -> None:
    changed = parse_event(
        request(
            {
                **SOCKET_EVENT,
                "status": "failed",
                "detail": "cannot_route",
                "headers": {"vonage_call_sid": CALL_UUID},
            }
        )
    )
    assert isinstance(changed, StreamChanged)
    assert (changed.carrier_call_id, changed.word, changed.error) == (
        CALL_UUID,
        "failed",
        "cannot_route",
    )


def test_an_unknown_status_is_kept() -> None:
    changed = parse_event(request({"uuid": CALL_UUID, "status": "teleported"}))
    assert isinstance(changed, CallChanged)
    assert (changed.event, changed.carrier_word) == (CallEvent.UNKNOWN, "teleported")


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        (captured("recording_event"), "recording"),
        ({"dtmf": {"digits": "1", "timed_out": False}, "uuid": CALL_UUID}, "input"),
        ({"speech": {}}, "input"),
        ({"payload": {"a": "b"}}, "notify"),
        ({"new": 1}, ""),
    ],
)
def test_other_callbacks_are_kept(fields: dict[str, Any], word: str) -> None:
    report = parse_event(request(fields))
    assert isinstance(report, UnknownReport)
    assert report.word == word
    assert set(report.raw) == set(fields)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("AAAAAAAABBBBCCCCDDDD000000000001", CALL_UUID),
        (CALL_UUID.upper(), CALL_UUID),
        ("CA00000000000000000000000000000001", "CA00000000000000000000000000000001"),
        ("", ""),
    ],
)
def test_uuids(text: str, expected: str) -> None:
    assert normalise_uuid(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("447700900000", "+447700900000"),
        ("+447700900000", "+447700900000"),
        ("07700900000", "07700900000"),
        ("12345", "12345"),
        ("1" * 16, "1" * 16),
        ("٤٤٧٧٠٠٩٠٠٠٠٠", "٤٤٧٧٠٠٩٠٠٠٠٠"),
    ],
)
def test_numbers(text: str, expected: str) -> None:
    assert normalise_number(text) == expected


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
FIELDS = st.dictionaries(
    st.sampled_from(
        ["uuid", "call_uuid", "status", "to", "from", "headers", "payload", "duration", "dtmf"]
    ),
    JSON | st.sampled_from([CALL_UUID, "completed", "machine", "wss://x", {"call_uuid": "a"}]),
)
REQUESTS = st.builds(
    WebhookRequest,
    method=st.sampled_from(["GET", "POST", "PUT", "get", ""]),
    url=st.text() | st.from_regex(r"https://[^/]{0,9}/[^ ]{0,20}", fullmatch=True),
    headers=st.lists(
        st.tuples(
            st.sampled_from(["Authorization", "Content-Type"]),
            st.text() | st.text().map(lambda text: f"Bearer {text}"),
        ),
        max_size=3,
    ),
    body=st.binary() | FIELDS.map(lambda fields: json.dumps(fields).encode()),
    received_at_s=st.floats(),
)


@given(received=REQUESTS)
def test_any_request_gives_an_event_or_a_documented_error(received: WebhookRequest) -> None:
    with pytest.raises((MissingProof, SignatureError)):
        verify(received, account(signed_queries=True))
    for parse in (parse_event, parse_incoming, is_report):
        with suppress(InvalidRequest):
            parse(received)
    account_id(received)
    nonce(received)
    asked = UpgradeRequest(url=received.url, headers=received.headers)
    with pytest.raises((MissingProof, SignatureError)):
        verify_upgrade(asked, ACCOUNT)


def test_what_cannot_be_read_names_nobody() -> None:
    for authorization in (f"Bearer {NESTED}.{NESTED}.x", "Bearer a.b.c"):
        received = request(authorization=authorization)
        assert account_id(received) is None
        assert nonce(received) is None


def test_a_url_that_cannot_be_read_has_no_query() -> None:
    received = request(b"", method="GET", url="https://[/?uuid=a")
    with pytest.raises(InvalidRequest):
        parse_incoming(received)
    with pytest.raises(SignatureError):
        verify(received, account(signed_queries=True))
