"""Vonage's webhooks: who signed them, and what they say.

https://developer.vonage.com/en/getting-started/concepts/webhooks#validating-signed-webhooks
https://developer.vonage.com/en/voice/voice-api/webhook-reference

A call is made of legs, each with a UUID and callbacks of its own: the phone's, which is the call to
us, and the media socket's, which is told from it by its ``to``.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from typing import TypeAlias, cast

import jwt
import orjson

from trunkline.carriers.vonage.account import VonageAccount
from trunkline.errors import InvalidRequest, MissingProof, SignatureError
from trunkline.telephony.call import CallEvent, Direction
from trunkline.telephony.carrier import CarrierAccount
from trunkline.telephony.webhook import (
    AmdReported,
    AmdVerdict,
    CallChanged,
    IncomingCall,
    StreamChanged,
    UnknownReport,
    UpgradeRequest,
    WebhookEvent,
    WebhookRequest,
)

__all__ = [
    "AMD_VERDICTS",
    "CALL_EVENTS",
    "FUTURE_S",
    "MAX_AGE_S",
    "account_id",
    "is_report",
    "nonce",
    "normalise_number",
    "normalise_uuid",
    "parse_event",
    "parse_incoming",
    "verify",
    "verify_upgrade",
]

CALL_EVENTS: Mapping[str, CallEvent] = {
    "started": CallEvent.INITIATED,
    "ringing": CallEvent.RINGING,
    "answered": CallEvent.ANSWERED,
    "completed": CallEvent.COMPLETED,
    "busy": CallEvent.BUSY,
    "timeout": CallEvent.NO_ANSWER,
    "unanswered": CallEvent.NO_ANSWER,
    "cancelled": CallEvent.CANCELED,
    "rejected": CallEvent.REJECTED,
    "failed": CallEvent.FAILED,
}
"""``status`` of a leg, in webhooks and REST alike."""

AMD_VERDICTS: Mapping[str, AmdVerdict] = {
    "human": AmdVerdict.HUMAN,
    "machine": AmdVerdict.MACHINE,
}
"""``status`` of a detection result."""

MAX_AGE_S = 300
"""A token that is older was not signed for this request. The limits are ours: Vonage documents
none."""
FUTURE_S = 30
"""How far the carrier's clock may be ahead of ours."""

_LATEST_S = 1e12  # no date of ours; a whole number beyond may be too large to compute with

_ISSUER = "Vonage"
_REQUIRED_CLAIMS = ("iss", "iat", "jti", "api_key")

# A media socket's end or failure: the answer may be what the call does next. Other callbacks of the
# socket's leg only tell.
_ASKING_STATUSES = frozenset(
    {"disconnected", "failed", "unanswered", "rejected", "busy", "timeout"}
)

# Callbacks without a status, by the field that only they have.
_KINDS_WITHOUT_STATUS: Mapping[str, str] = {
    "recording_url": "recording",
    "conversation_uuid_to": "transfer",
    "dtmf": "input",
    "speech": "input",
    "payload": "notify",
    "reason": "error",
}

_ID = re.compile(r"[0-9A-Za-z-]{1,64}")
_HEX_ID = re.compile(r"[0-9A-Fa-f]{32}")
_DIGITS = re.compile(r"[1-9][0-9]{6,14}")

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"


def account_id(request: WebhookRequest) -> str | None:
    """``api_key`` of a token that nobody has verified yet; None when there is none."""
    return _text(_unverified_claims(request).get("api_key")) or None


def nonce(request: WebhookRequest) -> str | None:
    """``jti``: different for each token, so that one cannot be used for another request."""
    return _text(_unverified_claims(request).get("jti")) or None


def verify(request: WebhookRequest, account: CarrierAccount) -> None:
    """Check the token in ``Authorization`` and the hash of the body in it.

    Raises:
        MissingProof: There is no token. Vonage is said to leave it out now and then.
        SignatureError: It does not fit, is too old, is another account's or application's, or the
            body is not what was signed.
    """
    holder = VonageAccount.require(account)
    claims = _verified_claims(request, holder)
    if request.method.upper() != "GET":
        signed = request.body
    elif holder.signed_queries:
        signed = _query_as_json(request)
    else:
        raise SignatureError("a request by GET is not covered", signed_url=request.url)
    named = claims.get("payload_hash")
    if named is None and not signed:
        return
    if not _equal(hashlib.sha256(signed).hexdigest(), _text(named)):
        raise SignatureError("the body is not the one that was signed", signed_url=request.url)


def verify_upgrade(request: UpgradeRequest, account: CarrierAccount) -> None:
    """Check the token of a media socket's upgrade, which covers neither URL nor body.

    Raises:
        MissingProof: There is no token, and the account or a static URL asks for one.
        SignatureError: See ``verify``.
    """
    holder = VonageAccount.require(account)
    if not request.header("authorization") and request.has_token and not holder.signed_upgrades:
        return
    _verified_claims(request, holder)


def is_report(request: WebhookRequest) -> bool:
    """Whether a request to where the media socket's events go only tells, and asks for nothing.

    Raises:
        InvalidRequest: Not a JSON object.
    """
    fields = _fields(request)
    return "status" in fields and _text(fields["status"]) not in _ASKING_STATUSES


def parse_incoming(request: WebhookRequest) -> IncomingCall:
    """Read the request for an answer that a call makes.

    That is a new inbound or an answered outbound call; the end of its media socket; or a redirect,
    which has sent the call here. The last two name the call where our headers or payload do.

    Raises:
        InvalidRequest: Not a JSON object, or without the id that every call has.
    """
    fields = _fields(request)
    outbound = _text(fields.get("direction")) == "outbound"
    if _is_socket(fields) or "payload" in fields:
        call_id = _named_call(fields)
    else:
        call_id = _require_id(fields, "uuid")
    return IncomingCall(
        carrier_call_id=call_id,
        account_id=account_id(request) or "",
        direction=Direction.OUTBOUND if outbound else Direction.INBOUND,
        from_number=normalise_number(
            _text(fields.get("from")) or _text(fields.get("from_user")) or "anonymous"
        ),
        to_number=normalise_number(_text(fields.get("to"))),
        raw=_raw(fields),
    )


def parse_event(request: WebhookRequest) -> WebhookEvent:
    """Read a callback: call status, detection of machines, the media socket's leg.

    Every other kind is an ``UnknownReport``. Callbacks carry no order and may come twice.

    Raises:
        InvalidRequest: Not a JSON object, or a status without the id that every leg has.
    """
    fields = _fields(request)
    account, raw = account_id(request) or "", _raw(fields)
    status = _text(fields.get("status"))
    if not status:
        kinds = (word for field, word in _KINDS_WITHOUT_STATUS.items() if field in fields)
        return UnknownReport(
            carrier_call_id=_named_call(fields) or normalise_uuid(_text(fields.get("uuid"))),
            account_id=account,
            word=next(kinds, ""),
            raw=raw,
        )
    if status in AMD_VERDICTS:
        # The one callback that names the leg otherwise.
        named = "call_uuid" if "call_uuid" in fields else "uuid"
        sub_state = _text(fields.get("sub_state"))
        return AmdReported(
            carrier_call_id=_require_id(fields, named),
            account_id=account,
            verdict=AMD_VERDICTS[status],
            carrier_word=f"{status} {sub_state}" if sub_state else status,
            raw=raw,
        )
    if _is_socket(fields):
        return StreamChanged(
            carrier_call_id=_named_call(fields),
            account_id=account,
            stream_id=_require_id(fields, "uuid"),
            word=status,
            error=_text(fields.get("detail")),
            raw=raw,
        )
    return CallChanged(
        carrier_call_id=_require_id(fields, "uuid"),
        account_id=account,
        event=CALL_EVENTS.get(status, CallEvent.UNKNOWN),
        carrier_word=status,
        duration_s=_whole_number(fields.get("duration")),
        cause=_text(fields.get("detail")),
        from_number=normalise_number(_text(fields.get("from"))) or None,
        to_number=normalise_number(_text(fields.get("to"))) or None,
        raw=raw,
    )


def normalise_uuid(text: str) -> str:
    """Return a leg's UUID in lower case with dashes: the answer webhook may leave them out."""
    if _HEX_ID.fullmatch(text):
        text = "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
    return text.lower() if len(text) == 36 else text


def normalise_number(text: str) -> str:
    """Return a number in E.164: Vonage leaves the plus out. What is no number stays as it is."""
    return f"+{text}" if _DIGITS.fullmatch(text) else text


def _unverified_claims(request: WebhookRequest) -> Mapping[str, Json]:
    token = _bearer(request)
    if not token:
        return {}
    try:
        return cast("dict[str, Json]", jwt.decode(token, options={"verify_signature": False}))
    except (jwt.PyJWTError, ValueError, RecursionError):
        return {}


def _verified_claims(
    request: WebhookRequest | UpgradeRequest, account: VonageAccount
) -> Mapping[str, Json]:
    if not request.header("authorization"):
        raise MissingProof
    if account.signature_secret is None or account.api_key is None:
        raise SignatureError(
            "the secret that signs is not set up for this account", signed_url=request.url
        )
    try:
        claims = cast(
            "dict[str, Json]",
            jwt.decode(
                _bearer(request),
                account.signature_secret.get_secret_value(),
                algorithms=["HS256"],
                options={
                    "require": [*_REQUIRED_CLAIMS],
                    # Below, against the time of the request.
                    "verify_iat": False,
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_aud": False,
                },
            ),
        )
    except (jwt.PyJWTError, ValueError, RecursionError) as error:
        raise SignatureError(
            f"the token is refused ({type(error).__name__})", signed_url=request.url
        ) from error
    problem = _problem(claims, account) or _expiry_problem(claims, request.received_at_s)
    if problem is not None:
        raise SignatureError(problem, signed_url=request.url)
    return claims


def _problem(claims: Mapping[str, Json], account: VonageAccount) -> str | None:
    """What is wrong with who the token names, if anything."""
    if claims.get("iss") != _ISSUER:
        return "the token's issuer is another one"
    if not _equal(account.api_key or "", _text(claims.get("api_key"))):
        return "the token is another account's"
    application = claims.get("application_id")
    if application is None or account.application_id is None:
        return None
    if _text(application).lower() != account.application_id:
        return "the token is another application's"
    return None


def _expiry_problem(claims: Mapping[str, Json], now_s: float) -> str | None:
    issued = _seconds(claims.get("iat"))
    if issued is None or not -FUTURE_S <= now_s - issued <= MAX_AGE_S:
        return "the token is too old or not valid yet"
    if "exp" in claims:
        expires = _seconds(claims["exp"])
        if expires is None or now_s >= expires + FUTURE_S:
            return "the token has expired"
    if "nbf" in claims:
        begins = _seconds(claims["nbf"])
        if begins is None or now_s < begins - FUTURE_S:
            return "the token is not valid yet"
    return None


def _bearer(request: WebhookRequest | UpgradeRequest) -> str:
    """The token; empty when the header is none of that kind."""
    scheme, _, token = (request.header("authorization") or "").strip().partition(" ")
    token = token.strip()
    return token if scheme.lower() == "bearer" and token.isascii() else ""


def _query_as_json(request: WebhookRequest) -> bytes:
    text = json.dumps(dict(_query(request)), separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8", "surrogatepass")


def _query(request: WebhookRequest) -> list[tuple[str, str]]:
    try:
        return request.query
    except ValueError:
        return []  # a URL that cannot be read has no query


def _fields(request: WebhookRequest) -> Mapping[str, Json]:
    """The request's fields: of the query for a GET, else of the JSON body."""
    if request.method.upper() == "GET":
        return dict(_query(request))
    try:
        fields: Json = orjson.loads(request.body)
    except orjson.JSONDecodeError:
        raise InvalidRequest("the body must be JSON") from None
    if not isinstance(fields, dict):
        raise InvalidRequest("the body must be a JSON object")
    return fields


def _raw(fields: Mapping[str, Json]) -> Mapping[str, str]:
    """All fields as text; what is none is written as JSON."""
    return {
        name: value if isinstance(value, str) else orjson.dumps(value).decode()
        for name, value in fields.items()
    }


def _is_socket(fields: Mapping[str, Json]) -> bool:
    """Whether a callback is about the media socket's leg."""
    return _text(fields.get("to")).startswith(("ws://", "wss://"))


def _named_call(fields: Mapping[str, Json]) -> str:
    """The call as our own headers or payload name it; empty when they do not."""
    for name in ("headers", "payload"):
        ours = fields.get(name)
        if isinstance(ours, dict):
            found = _text(ours.get("call_uuid")) or _text(ours.get("vonage_call_sid"))
            if found:
                return normalise_uuid(found)
    return ""


def _require_id(fields: Mapping[str, Json], name: str) -> str:
    value = _text(fields.get(name))
    if not _ID.fullmatch(value):
        raise InvalidRequest(f"{name} is missing or malformed", field=name)
    return normalise_uuid(value)


def _text(value: Json) -> str:
    return value if isinstance(value, str) else ""


def _whole_number(value: Json) -> int | None:
    """Vonage writes numbers as strings; integers are taken, too."""
    if isinstance(value, str):
        return int(value) if len(value) < 19 and value.isascii() and value.isdigit() else None
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _seconds(value: Json) -> float | None:
    """A time since 1970; None for what is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < _LATEST_S else None


def _equal(expected: str, given: str) -> bool:
    return hmac.compare_digest(
        expected.encode("utf-8", "surrogatepass"), given.encode("utf-8", "surrogatepass")
    )
