from __future__ import annotations

import base64
import json
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.carriers.exotel.account import ExotelAccount
from trunkline.carriers.exotel.webhook import (
    account_id,
    parse_event,
    parse_incoming,
    sign_status_url,
    status_token,
    verify,
    verify_upgrade,
)
from trunkline.errors import ConfigError, InvalidRequest, MissingProof, SignatureError
from trunkline.telephony.call import CallEvent, Direction
from trunkline.telephony.webhook import (
    CallChanged,
    StreamChanged,
    UnknownReport,
    UpgradeRequest,
    WebhookRequest,
)

CAPTURES = Path(__file__).parents[3] / "captures" / "exotel"
VECTORS = json.loads((CAPTURES / "signatures.json").read_text(encoding="utf-8"))
STATUS = json.loads((CAPTURES / "status_callback.json").read_text(encoding="utf-8"))
DYNAMIC = json.loads((CAPTURES / "dynamic_url_request.json").read_text(encoding="utf-8"))
PASSTHRU = json.loads((CAPTURES / "passthru_query.json").read_text(encoding="utf-8"))

CALL_SID = "1f3a5c7e9b2d4f60a8c1e3f5b7d91a2b"
BASE = "https://voice.example.test/telephony/exotel"
INBOUND = f"{BASE}/inbound/desk"
KEYS = {"account_sid": "exampleacct1", "api_key": "key", "api_token": "token"}


def account(**fields: str) -> ExotelAccount:
    return ExotelAccount.model_validate({**KEYS, **fields})


def basic(user: str, password: str) -> tuple[str, str]:
    encoded = base64.b64encode(f"{user}:{password}".encode()).decode()
    return "Authorization", f"Basic {encoded}"


def get(url: str, *headers: tuple[str, str], **more: Any) -> WebhookRequest:
    return WebhookRequest(method="GET", url=url, headers=headers, **more)


def post(body: bytes, content_type: str, url: str = f"{BASE}/events/c1") -> WebhookRequest:
    headers = [("content-type", content_type)]
    return WebhookRequest(method="POST", url=url, headers=headers, body=body)


def post_json(fields: object) -> WebhookRequest:
    return post(json.dumps(fields).encode(), "application/json")


def upgrade(*headers: tuple[str, str], **more: Any) -> UpgradeRequest:
    return UpgradeRequest(url="wss://h/ws/exotel/desk", headers=headers, **more)


@pytest.mark.parametrize("vector", VECTORS["basic_auth"], ids=lambda vector: vector["name"])
def test_basic_vectors(vector: dict[str, Any]) -> None:
    pair = {"webhook_user": vector["username"], "webhook_password": vector["password"]}
    holder, headers = account(**pair), list(vector["headers"].items())

    def check() -> None:
        verify(get(INBOUND, *headers), holder)
        verify_upgrade(upgrade(*headers), holder)

    if vector["valid"]:
        check()
        # The same from the API's own key and token, as Exotel's pages write it.
        keys = {"api_key": vector["username"], "api_token": vector["password"]}
        verify(get(INBOUND, *headers), account(**keys))
        return
    with pytest.raises(SignatureError if headers else MissingProof):
        verify(get(INBOUND, *headers), holder)
    with pytest.raises(SignatureError if headers else MissingProof):
        verify_upgrade(upgrade(*headers), holder)


@pytest.mark.parametrize("vector", VECTORS["capability_token"]["cases"], ids=str)
def test_token_vectors(vector: dict[str, Any]) -> None:
    key = VECTORS["capability_token"]["server_key"]
    request = post(b"", "", url=vector["url"])
    if vector["valid"]:
        verify(request, account(api_token=key))
        (token,) = parse_qs(urlsplit(vector["url"]).query)["t"]
        assert token == status_token(key, vector["run_id"])
    else:
        with pytest.raises(SignatureError):
            verify(request, account(api_token=key))


def test_a_url_that_we_made_is_proof_for_its_call_alone() -> None:
    url = sign_status_url(f"{BASE}/events/c1", account())
    assert url.startswith(f"{BASE}/events/c1?t=")
    verify(post(b"", "", url=url), account())
    with pytest.raises(SignatureError):
        verify(post(b"", "", url=url.replace("/c1?", "/c2?")), account())
    with pytest.raises(SignatureError):
        verify(post(b"", "", url=url), account(api_token="another"))
    with pytest.raises(SignatureError):
        verify(post(b"", "", url=url), ExotelAccount())


def test_a_query_keeps_its_place() -> None:
    assert sign_status_url("https://h/c1?a=1", account()).startswith("https://h/c1?a=1&t=")


def test_a_url_cannot_be_made_without_a_key() -> None:
    with pytest.raises(ConfigError):
        sign_status_url(f"{BASE}/events/c1", ExotelAccount())


def test_the_password_counts_beside_a_token_of_another_call() -> None:
    request = get(f"{BASE}/events/c1?t=0000", basic("key", "token"))
    verify(request, account())


def test_nothing_proves_anything_without_credentials() -> None:
    empty = ExotelAccount()
    for header in (basic("", ""), ("Authorization", "Basic "), basic("key", "token")):
        with pytest.raises(SignatureError):
            verify(get(INBOUND, header), empty)
        with pytest.raises(SignatureError):
            verify_upgrade(upgrade(header), empty)


@pytest.mark.parametrize(
    "value",
    ["Bearer a2V5OnRva2Vu", "Basic", "Basic é", "Basic a2V5OnRva2Vu%", "basic a2V5", "\udce9"],
)
def test_odd_headers_are_refused(value: str) -> None:
    with pytest.raises(SignatureError):
        verify(get(INBOUND, ("authorization", value)), account())


def test_the_scheme_has_no_case() -> None:
    verify(get(INBOUND, ("authorization", "basic a2V5OnRva2Vu")), account())


def test_an_error_does_not_repeat_the_query() -> None:
    with pytest.raises(SignatureError) as caught:
        verify(get(f"{INBOUND}?From=%2B14155550100", basic("a", "b")), account())
    assert caught.value.signed_url == INBOUND


@pytest.mark.parametrize(
    ("networks", "host", "is_listed"),
    [
        ("203.0.113.0/24", "203.0.113.9", True),
        ("203.0.113.0/24", "::ffff:203.0.113.9", True),
        ("198.51.100.1,2001:db8::/32", "2001:db8::7", True),
        ("203.0.113.0/24", "203.0.114.9", False),
        ("203.0.113.0/24", "2001:db8::7", False),
        ("203.0.113.0/24", "", False),
        ("203.0.113.0/24", "localhost", False),
    ],
)
def test_a_list_of_addresses_comes_first(
    networks: str,
    host: str,
    is_listed: bool,
) -> None:
    holder, header = account(allowed_networks=networks), basic("key", "token")
    signed = sign_status_url(f"{BASE}/events/c1", holder)

    def check() -> None:
        verify(get(INBOUND, header, client_host=host), holder)
        verify(get(signed, client_host=host), holder)
        verify_upgrade(upgrade(header, client_host=host), holder)
        verify_upgrade(upgrade(client_host=host, has_token=True), holder)

    if is_listed:
        check()
        return
    for request in (get(INBOUND, header, client_host=host), get(signed, client_host=host)):
        with pytest.raises(SignatureError):
            verify(request, holder)
    for socket in (
        upgrade(header, client_host=host),
        upgrade(client_host=host, has_token=True),
    ):
        with pytest.raises(SignatureError):
            verify_upgrade(socket, holder)


def test_a_token_in_the_path_stands_for_the_password() -> None:
    verify_upgrade(upgrade(has_token=True), account())
    verify_upgrade(upgrade(basic("key", "token"), has_token=True), account())
    with pytest.raises(SignatureError):
        verify_upgrade(upgrade(basic("key", "wrong"), has_token=True), account())
    with pytest.raises(MissingProof):
        verify_upgrade(upgrade(), account())


def test_the_dynamic_url() -> None:
    request = get(
        f"{INBOUND}?{urlencode(DYNAMIC['query'])}",
        *DYNAMIC["headers"].items(),
    )
    verify(request, account(api_key="exotel_api_key_test", api_token="exotel_api_token_test"))
    call = parse_incoming(request)
    assert (call.carrier_call_id, call.direction) == (CALL_SID, Direction.INBOUND)
    assert (call.from_number, call.to_number) == ("+919876543210", "+918047091234")
    assert call.raw == DYNAMIC["query"]
    assert (call.account_id, call.call_id) == ("", None)
    assert account_id(request) is None


def test_a_call_of_ours_comes_back_through_a_flow() -> None:
    query = {**DYNAMIC["query"], "Direction": "outbound-dial", "CustomField": "c1"}
    call = parse_incoming(get(f"{INBOUND}?{urlencode(query)}"))
    assert (call.direction, call.call_id) == (Direction.OUTBOUND, "c1")


def test_plainer_names_are_read_too() -> None:
    fields = {"CallSid": CALL_SID, "From": "+14155550100", "To": "", "AccountSid": "acct"}
    request = post(urlencode(fields).encode(), "application/x-www-form-urlencoded; charset=utf-8")
    call = parse_incoming(request)
    assert (call.from_number, call.to_number, call.account_id) == ("+14155550100", "", "acct")
    assert account_id(request) == "acct"


def test_an_empty_post_has_its_parameters_in_the_url() -> None:
    request = post(b"", "", url=f"{INBOUND}?CallSid={CALL_SID}")
    call = parse_incoming(request)
    assert (call.carrier_call_id, call.from_number) == (CALL_SID, "anonymous")


def test_the_callback_as_json() -> None:
    changed = parse_event(post_json(STATUS["body"]))
    assert isinstance(changed, CallChanged)
    assert (changed.carrier_call_id, changed.event) == (CALL_SID, CallEvent.COMPLETED)
    assert (changed.carrier_word, changed.sequence, changed.duration_s) == ("completed", 3, 42)
    assert (changed.from_number, changed.to_number) == ("+919876543210", "+918047091234")
    assert changed.delivery_id == f"{CALL_SID}:terminal"
    assert changed.raw["Legs[0][OnCallDuration]"] == "45"
    assert changed.raw["CustomField"] == "run_42"


def test_the_callback_as_a_multipart_form() -> None:
    fields = STATUS["multipart_keys_example"]
    parts = {name: (None, value) for name, value in fields.items()}
    encoded = httpx.Request("POST", BASE, files=parts)
    request = post(encoded.read(), encoded.headers["content-type"])
    changed = parse_event(request)
    assert isinstance(changed, CallChanged)
    assert (changed.event, changed.sequence, changed.cause) == (
        *(CallEvent.ANSWERED, 2),
        "in-progress",
    )
    assert changed.raw == fields


def test_the_callback_as_a_form() -> None:
    fields = {"CallSid": CALL_SID, "EventType": "ringing", "Status": "in-progress", "Price": ""}
    request = post(urlencode(fields).encode(), "application/x-www-form-urlencoded")
    changed = parse_event(request)
    assert isinstance(changed, CallChanged)
    assert (changed.event, changed.sequence, changed.duration_s) == (CallEvent.RINGING, 1, None)
    assert changed.raw == fields


@pytest.mark.parametrize(
    ("fields", "event", "word"),
    [
        ({"EventType": "terminal", "Status": "busy"}, CallEvent.BUSY, "busy"),
        ({"EventType": "terminal", "Status": "no-answer"}, CallEvent.NO_ANSWER, "no-answer"),
        ({"EventType": "terminal", "Status": "canceled"}, CallEvent.CANCELED, "canceled"),
        ({"EventType": "terminal", "Status": "failed"}, CallEvent.FAILED, "failed"),
        ({"EventType": "terminal", "Status": "odd"}, CallEvent.UNKNOWN, "odd"),
        ({"EventType": "terminal"}, CallEvent.UNKNOWN, ""),
        ({"EventType": "held", "Status": "completed"}, CallEvent.UNKNOWN, "held"),
        ({"Status": "completed"}, CallEvent.COMPLETED, "completed"),
        # A dial that still rings says this.
        ({"Status": "in-progress"}, CallEvent.INITIATED, "in-progress"),
    ],
)
def test_words(fields: dict[str, str], event: CallEvent, word: str) -> None:
    changed = parse_event(post_json({"CallSid": CALL_SID, **fields}))
    assert isinstance(changed, CallChanged)
    assert (changed.event, changed.carrier_word) == (event, word)


def test_a_passthru_applet_tells_of_the_stream() -> None:
    told = parse_event(get(f"{BASE}/events/_?{urlencode(PASSTHRU['nested'])}"))
    assert isinstance(told, StreamChanged)
    assert (told.stream_id, told.word, told.error) == (
        *("6f2a9c1e0b7d4f38a5c2d9e14b7f1a2c", "completed"),
        "",
    )
    assert told.raw["Stream[DisconnectedBy]"] == "bot"


def test_a_passthru_applet_may_tell_it_in_json() -> None:
    told = parse_event(get(f"{BASE}/events/_?{urlencode(PASSTHRU['single_json_param'])}"))
    assert isinstance(told, StreamChanged)
    assert (told.word, told.error) == ("failed", "3009 failed to establish ws conn")
    assert told.raw["Stream[Duration]"] == "0"


def test_a_report_of_nothing() -> None:
    report = parse_event(post_json({"CallSid": CALL_SID, "Digits": "5"}))
    assert isinstance(report, UnknownReport)
    assert report.raw["Digits"] == "5"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b'{"CallSid":""}',
        b'{"CallSid":"a b"}',
        b'{"CallSid":["a"]}',
        b'{"CallSid":"a","Stream":"{"}',
    ],
)
def test_json_that_cannot_be_read(body: bytes) -> None:
    for parse in (parse_incoming, parse_event):
        with pytest.raises(InvalidRequest):
            parse(post(body, "application/json"))


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"CallSid=%ff", "application/x-www-form-urlencoded"),
        (b"\xff", "application/x-www-form-urlencoded"),
        (b"CallSid=a", "text/plain"),
        (b"x", "multipart/form-data"),
        (b"--b\r\n\r\nx\r\n--b--", "multipart/form-data; boundary=b"),
        (
            b'--b\r\nContent-Disposition: form-data; name="CallSid"\r\n\r\n\xff\r\n--b--',
            "multipart/form-data; boundary=b",
        ),
    ],
)
def test_forms_that_cannot_be_read(body: bytes, content_type: str) -> None:
    request = post(body, content_type)
    assert account_id(request) is None
    with pytest.raises(InvalidRequest):
        parse_event(request)


def test_a_huge_document_is_cut() -> None:
    deep: object = "x"
    for _ in range(50):
        deep = {"a": deep}
    fields = {"CallSid": CALL_SID, "Status": "completed", "Legs": ["y"] * 5000, "Deep": deep}
    changed = parse_event(post_json(fields))
    assert isinstance(changed, CallChanged)
    assert "Legs[499]" in changed.raw
    assert "Legs[500]" not in changed.raw


@given(
    st.sampled_from(["GET", "POST"]),
    st.text(max_size=40),
    st.sampled_from(
        [
            "",
            "application/json",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=b",
            "multipart/form-data; boundary=\r\n\u20ac",
            "text/plain",
        ]
    ),
    st.one_of(
        st.binary(max_size=80),
        st.recursive(
            st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=5),
            lambda inner: (
                st.dictionaries(
                    st.sampled_from(["CallSid", "Status", "EventType", "Stream", "Legs"]), inner
                )
                | st.lists(inner, max_size=3)
            ),
            max_leaves=8,
        ).map(lambda document: json.dumps(document).encode()),
    ),
)
def test_whatever_comes_is_understood_or_refused(
    method: str, query: str, content_type: str, body: bytes
) -> None:
    headers = [("content-type", content_type), ("authorization", query)]
    url = f"{INBOUND}?{query}"
    request = WebhookRequest(method=method, url=url, headers=headers, body=body)
    account_id(request)
    with suppress(InvalidRequest):
        parse_incoming(request)
    with suppress(InvalidRequest):
        parse_event(request)
    with pytest.raises((SignatureError, MissingProof)):
        verify(request, account())
