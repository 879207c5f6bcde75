"""Exotel's requests: what stands in for a signature, and what they say.

https://developer.exotel.com/api/make-a-call-api (StatusCallback)
https://support.exotel.com/support/solutions/articles/3000108630 (Voicebot and Passthru applets)
"""

from __future__ import annotations

import binascii
import email
import hashlib
import hmac
import ipaddress
import re
from collections.abc import Iterator, Mapping
from typing import TypeAlias
from urllib.parse import parse_qsl, urlsplit

import orjson

from trunkline.carriers.exotel.account import NUMBER_REGION, ExotelAccount
from trunkline.errors import InvalidRequest, MissingProof, SignatureError
from trunkline.telephony.call import CallEvent, Direction
from trunkline.telephony.carrier import CarrierAccount
from trunkline.telephony.numbers import to_e164
from trunkline.telephony.webhook import (
    CallChanged,
    IncomingCall,
    StreamChanged,
    UnknownReport,
    UpgradeRequest,
    WebhookEvent,
    WebhookRequest,
)

__all__ = [
    "CALL_EVENTS",
    "account_id",
    "parse_event",
    "parse_incoming",
    "sign_status_url",
    "status_token",
    "verify",
    "verify_upgrade",
]

CALL_EVENTS: Mapping[str, CallEvent] = {
    "queued": CallEvent.INITIATED,
    "ringing": CallEvent.RINGING,
    # A dial says so from its first moment on, while the phone still rings: it does not mean
    # answered. That is what ``EventType`` is for.
    "in-progress": CallEvent.INITIATED,
    "completed": CallEvent.COMPLETED,
    "busy": CallEvent.BUSY,
    "no-answer": CallEvent.NO_ANSWER,
    "canceled": CallEvent.CANCELED,
    "failed": CallEvent.FAILED,
}
"""``Status``, in callbacks and REST alike."""

_EVENT_TYPES: Mapping[str, CallEvent] = {
    "ringing": CallEvent.RINGING,
    "answered": CallEvent.ANSWERED,
}
_SEQUENCE = {"ringing": 1, "answered": 2, "terminal": 3}
_TERMINAL = "terminal"

_TOKEN_PARAMETER = "t"  # noqa: S105 - a parameter's name
_TOKEN_LABEL = "exotel|status|"  # noqa: S105 - what the token is made over

_FORM = "application/x-www-form-urlencoded"
_MULTIPART = "multipart/form-data"
_JSON = "application/json"

_CALL_SID = re.compile(r"[0-9A-Za-z_-]{1,64}")
_MOST_FIELDS = 500
_DEEPEST = 5

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"


def status_token(key: str, call_id: str) -> str:
    """Return the proof that a callback's URL was made by us for that call: HMAC-SHA256 in hex."""
    return hmac.new(_utf8(key), _utf8(_TOKEN_LABEL + call_id), hashlib.sha256).hexdigest()


def sign_status_url(url: str, account: ExotelAccount) -> str:
    """Add the token to a callback's URL, whose last part is the call's id.

    Whether Exotel sends a user name in a StatusCallback's URL back is doubtful.

    Raises:
        ConfigError: The account has no API token to make it with.
    """
    token = status_token(account.rest_credentials[1], _last_part(url))
    return f"{url}{'&' if '?' in url else '?'}{_TOKEN_PARAMETER}={token}"


def account_id(request: WebhookRequest) -> str | None:
    """``AccountSid`` of a request that nobody has verified yet; mostly None: few carry it."""
    try:
        return _fields(request).get("AccountSid") or None
    except InvalidRequest:
        return None


def verify(request: WebhookRequest, account: CarrierAccount) -> None:
    """Check the sender's address, if a list is set, and then a secret that only Exotel was told.

    That is the token in the URL of a callback, or user name and password of a URL in the console.
    Neither covers what the request says: its call is checked by whoever acts on it.

    Raises:
        MissingProof: There is neither token nor password.
        SignatureError: It is wrong, or the address is not on the list.
    """
    ours = ExotelAccount.require(account)
    _check_address(request.client_host, ours, request.url)
    given = _status_token_of(request.url)
    if given and _token_fits(given, request.url, ours):
        return
    authorization = request.header("authorization")
    if given and not authorization:
        raise SignatureError("the token is not this call's", signed_url=_without_query(request.url))
    _check_basic(authorization, ours, request.url)


def verify_upgrade(request: UpgradeRequest, account: CarrierAccount) -> None:
    """Check a media socket: address, and user name and password unless its URL has a token.

    Raises:
        MissingProof: There is neither token nor password.
        SignatureError: The password is wrong, or the address is not on the list.
    """
    ours = ExotelAccount.require(account)
    _check_address(request.client_host, ours, request.url)
    authorization = request.header("authorization")
    if request.has_token and authorization is None:
        return
    _check_basic(authorization, ours, request.url)


def parse_incoming(request: WebhookRequest) -> IncomingCall:
    """Read the request for a media URL that a Voicebot applet makes.

    Raises:
        InvalidRequest: It cannot be read, or names no call.
    """
    fields = _fields(request)
    outbound = fields.get("Direction", "").startswith("outbound")
    return IncomingCall(
        carrier_call_id=_require_sid(fields),
        account_id=fields.get("AccountSid", ""),
        direction=Direction.OUTBOUND if outbound else Direction.INBOUND,
        from_number=_number(fields, "CallFrom", "From") or "anonymous",
        to_number=_number(fields, "CallTo", "To") or "",
        # Of the calls that we have placed; rest.py writes it.
        call_id=fields.get("CustomField") or None,
        raw=fields,
    )


def parse_event(request: WebhookRequest) -> WebhookEvent:
    """Read a callback: call status, or what a Passthru applet tells of the stream before it.

    Raises:
        InvalidRequest: It cannot be read, or names no call.
    """
    fields = _fields(request)
    call_id, account = _require_sid(fields), fields.get("AccountSid", "")
    if any(name.startswith("Stream[") for name in fields):
        return StreamChanged(
            carrier_call_id=call_id,
            account_id=account,
            stream_id=fields.get("Stream[StreamSID]", ""),
            word=fields.get("Stream[Status]", ""),
            error=fields.get("Stream[Error]") or fields.get("Stream[DetailedStatus]", ""),
            raw=fields,
        )
    event_type, status = fields.get("EventType", ""), fields.get("Status", "")
    if not event_type and not status:
        return UnknownReport(carrier_call_id=call_id, account_id=account, word="", raw=fields)
    by_status = not event_type or event_type == _TERMINAL
    words = CALL_EVENTS if by_status else _EVENT_TYPES
    word = status if by_status else event_type
    return CallChanged(
        carrier_call_id=call_id,
        account_id=account,
        event=words.get(word, CallEvent.UNKNOWN),
        carrier_word=word,
        sequence=_SEQUENCE.get(event_type),
        duration_s=_whole_number(fields.get("ConversationDuration")),
        cause=status if not by_status else "",
        from_number=_number(fields, "From"),
        to_number=_number(fields, "To"),
        # The documents contradict each other about repetitions; this pair tells them apart.
        delivery_id=f"{call_id}:{event_type or status}",
        raw=fields,
    )


def _check_address(host: str, account: ExotelAccount, url: str) -> None:
    networks = account.networks
    if not networks:
        return
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        address = None
    if isinstance(address, ipaddress.IPv6Address):
        address = address.ipv4_mapped or address
    if address is None or not any(
        address.version == network.version and address in network for network in networks
    ):
        raise SignatureError("the address is not on the list", signed_url=_without_query(url))


def _check_basic(authorization: str | None, account: ExotelAccount, url: str) -> None:
    """Raise unless the header is the user name and password that stand in our URLs."""
    if not authorization:
        raise MissingProof
    expected = account.webhook_credentials
    scheme, _, encoded = authorization.partition(" ")
    try:
        given = binascii.a2b_base64(_utf8(encoded.strip()), strict_mode=True)
    except ValueError:
        given = b""
    fits = hmac.compare_digest(given, _utf8(":".join(expected or ())))
    if expected is None or scheme.lower() != "basic" or not fits:
        raise SignatureError("wrong user name or password", signed_url=_without_query(url))


def _status_token_of(url: str) -> str:
    try:
        return dict(parse_qsl(urlsplit(url).query)).get(_TOKEN_PARAMETER, "")
    except ValueError:
        return ""


def _token_fits(given: str, url: str, account: ExotelAccount) -> bool:
    if account.api_token is None:
        return False
    expected = status_token(account.api_token.get_secret_value(), _last_part(url))
    return hmac.compare_digest(_utf8(given), _utf8(expected))


def _last_part(url: str) -> str:
    return _without_query(url).rstrip("/").rpartition("/")[2]


def _without_query(url: str) -> str:
    return url.partition("?")[0]


def _fields(request: WebhookRequest) -> dict[str, str]:
    """The request's fields by name; nested ones as ``Legs[0][Status]``, as Exotel's forms have it.

    Raises:
        InvalidRequest: The body is of no kind that Exotel sends, or is broken.
    """
    try:
        if request.method.upper() == "GET" or not request.body:
            found = dict(
                parse_qsl(urlsplit(request.url).query, keep_blank_values=True, errors="strict")
            )
        else:
            found = dict(_body_fields(request))
    except ValueError:
        raise InvalidRequest("the parameters cannot be read") from None
    # A Passthru applet may send the stream's fate as one parameter, in JSON.
    nested = found.pop("Stream", "")
    if nested:
        found |= dict(_flatten("Stream", _parse_json(nested.encode())))
    return found


def _body_fields(request: WebhookRequest) -> Iterator[tuple[str, str]]:
    kind = request.content_type
    if kind == _FORM:
        return iter(parse_qsl(request.body.decode(), keep_blank_values=True, errors="strict"))
    if kind == _MULTIPART:
        return _multipart_fields(request.header("content-type") or "", request.body)
    if kind == _JSON:
        return _flatten("", _parse_json(request.body))
    raise InvalidRequest("the body must be a form or JSON")


def _multipart_fields(content_type: str, body: bytes) -> Iterator[tuple[str, str]]:
    head = b"Content-Type: " + content_type.encode("latin-1", "replace") + b"\r\n\r\n"
    message = email.message_from_bytes(head + body)
    if not message.is_multipart():
        raise InvalidRequest("the form has no parts")
    for part in message.walk():
        name = part.get_param("name", header="content-disposition")
        payload = part.get_payload(decode=True)
        if isinstance(name, str) and isinstance(payload, bytes):
            yield name, payload.decode()


def _parse_json(data: bytes) -> Json:
    try:
        found: Json = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise InvalidRequest("the parameters are not JSON") from None
    if not isinstance(found, dict):
        raise InvalidRequest("the parameters are not a JSON object")
    return found


def _flatten(name: str, value: Json, depth: int = 0) -> Iterator[tuple[str, str]]:
    """Names and values of a JSON document, at most ``_MOST_FIELDS`` of each list or object."""
    if isinstance(value, dict | list) and depth < _DEEPEST:
        entries = value.items() if isinstance(value, dict) else enumerate(value)
        for number, (key, entry) in enumerate(entries):
            if number == _MOST_FIELDS:
                return
            yield from _flatten(f"{name}[{key}]" if name else str(key), entry, depth + 1)
    elif isinstance(value, str):
        yield name, value
    elif value is None:
        yield name, ""
    else:
        yield name, orjson.dumps(value).decode()


def _require_sid(fields: Mapping[str, str]) -> str:
    value = fields.get("CallSid", "")
    if not _CALL_SID.fullmatch(value):
        raise InvalidRequest("CallSid is missing or malformed", field="CallSid")
    return value


def _number(fields: Mapping[str, str], *names: str) -> str | None:
    """The first of the fields that is set, in E.164 where it is a number."""
    for name in names:
        if value := fields.get(name, "").strip():
            return to_e164(value, region=NUMBER_REGION)
    return None


def _whole_number(value: str | None) -> int | None:
    return int(value) if value and len(value) < 19 and value.isascii() and value.isdigit() else None


def _utf8(text: str) -> bytes:
    """Header and URL bytes may have been decoded with surrogates; they must not raise here."""
    return text.encode("utf-8", "surrogatepass")
