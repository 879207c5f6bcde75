"""Twilio's webhooks: who signed them, and what they say.

https://www.twilio.com/docs/usage/security#validating-requests
https://www.twilio.com/docs/voice/twiml#request-parameters
"""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import parse_qs, parse_qsl, urlsplit

from pydantic import SecretStr

from trunkline.carriers.twilio.account import TwilioAccount
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
    "account_id",
    "parse_event",
    "parse_incoming",
    "verify",
    "verify_upgrade",
]

CALL_EVENTS: Mapping[str, CallEvent] = {
    "queued": CallEvent.INITIATED,
    "initiated": CallEvent.INITIATED,
    "ringing": CallEvent.RINGING,
    "in-progress": CallEvent.ANSWERED,
    "completed": CallEvent.COMPLETED,
    "busy": CallEvent.BUSY,
    "no-answer": CallEvent.NO_ANSWER,
    "canceled": CallEvent.CANCELED,
    "failed": CallEvent.FAILED,
}
"""``CallStatus``, in webhooks and REST alike."""

AMD_VERDICTS: Mapping[str, AmdVerdict] = {
    "human": AmdVerdict.HUMAN,
    "machine_start": AmdVerdict.MACHINE,
    "machine_end_beep": AmdVerdict.MACHINE,
    "machine_end_silence": AmdVerdict.MACHINE,
    "machine_end_other": AmdVerdict.MACHINE,
    "fax": AmdVerdict.FAX,
    "unknown": AmdVerdict.UNKNOWN,
}
"""``AnsweredBy``."""

_SIGNATURE = "X-Twilio-Signature"
_SIGNATURE_SETTINGS = "X-Twilio-Webhooks-Signature-Settings"
_DELIVERY_ID = "I-Twilio-Idempotency-Token"
_BODY_HASH = "bodySHA256"
_FORM = "application/x-www-form-urlencoded"

_HASHES = {"HMAC_SHA1": hashlib.sha1, "HMAC_SHA256": hashlib.sha256}
_DEFAULT_PORTS = {"https": 443, "wss": 443, "http": 80, "ws": 80}

# Not urlsplit: what was signed is the URL byte for byte, and urlunsplit drops an empty query, among
# others.
_URL = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?:[^/?#]*@)?"
    r"(?P<host>\[[^\]/?#]*\]|[^:/?#\[\]]*)(?::(?P<port>[0-9]*))?(?P<rest>(?:[/?][^#]*)?)(?:#.*)?",
    re.DOTALL,
)
_SID = re.compile(r"[A-Z]{2}[0-9A-Za-z]{1,62}")


def account_id(request: WebhookRequest) -> str | None:
    """``AccountSid`` of a request that nobody has verified yet; None when it names none."""
    try:
        return dict(_parameters(request)).get("AccountSid") or None
    except InvalidRequest:
        return None


def verify(request: WebhookRequest, account: CarrierAccount) -> None:
    """Check ``X-Twilio-Signature`` over the URL and, for a form, its parameters.

    A body that is no form is covered by its SHA-256 in the query, which the signature covers.

    Raises:
        MissingProof: There is no signature.
        SignatureError: It does not fit, or the body is not what was signed.
    """
    signature = request.header(_SIGNATURE)
    if not signature:
        raise MissingProof
    signed_parameters = ""
    if _is_form(request):
        try:
            signed_parameters = _join_for_signing(_parameters(request))
        except InvalidRequest as error:
            raise SignatureError(error.message, signed_url=request.url) from error
    else:
        _check_body_hash(request)
    candidates = [url + signed_parameters for url in _signed_urls(request.url)]
    _check_signature(signature, candidates, request, TwilioAccount.require(account))


def verify_upgrade(request: UpgradeRequest, account: CarrierAccount) -> None:
    """Check the signature of a media socket's upgrade.

    It covers the ``wss://`` URL of our markup and no parameters. Some of Twilio's edges sign the
    URL with a slash appended (https://github.com/twilio/twilio-aspnet/issues/162).

    Raises:
        MissingProof: There is no signature.
        SignatureError: It does not fit.
    """
    signature = request.header(_SIGNATURE)
    if not signature:
        raise MissingProof
    candidates = [*_signed_urls(request.url), *_signed_urls(request.url + "/")]
    _check_signature(signature, candidates, request, TwilioAccount.require(account))


def parse_incoming(request: WebhookRequest) -> IncomingCall:
    """Read the request for markup that a new inbound or an answered outbound call makes.

    Raises:
        InvalidRequest: Not a form, or without the ids that every voice webhook has.
    """
    fields = dict(_parameters(request))
    # inbound; outbound-api, outbound-dial. What else may come is a call to us until it says that it
    # is not.
    outbound = fields.get("Direction", "").startswith("outbound")
    return IncomingCall(
        carrier_call_id=_require_sid(fields, "CallSid"),
        account_id=_require_sid(fields, "AccountSid"),
        direction=Direction.OUTBOUND if outbound else Direction.INBOUND,
        from_number=fields.get("From") or "anonymous",
        to_number=fields.get("To", ""),
        answered_by=fields.get("AnsweredBy") or None,
        delivery_id=request.header(_DELIVERY_ID),
        raw=fields,
    )


def parse_event(request: WebhookRequest) -> WebhookEvent:
    """Read a callback: call status, asynchronous AMD, stream status.

    Every other kind is an ``UnknownReport``.

    Raises:
        InvalidRequest: Not a form, or without the ids that every voice webhook has.
    """
    fields = dict(_parameters(request))
    call_id, account = _require_sid(fields, "CallSid"), _require_sid(fields, "AccountSid")
    if "StreamEvent" in fields:
        return StreamChanged(
            carrier_call_id=call_id,
            account_id=account,
            stream_id=fields.get("StreamSid", ""),
            word=fields["StreamEvent"],
            error=fields.get("StreamError", ""),
            raw=fields,
        )
    # Callbacks of recordings and of <Dial> may carry CallStatus beside their own word.
    for name in ("RecordingStatus", "DialCallStatus"):
        if name in fields:
            word = f"{name}={fields[name]}"
            return UnknownReport(carrier_call_id=call_id, account_id=account, word=word, raw=fields)
    if "CallStatus" in fields:
        return _call_changed(fields, call_id, account, request.header(_DELIVERY_ID))
    if "AnsweredBy" in fields:
        return AmdReported(
            carrier_call_id=call_id,
            account_id=account,
            verdict=AMD_VERDICTS.get(fields["AnsweredBy"], AmdVerdict.UNKNOWN),
            carrier_word=fields["AnsweredBy"],
            duration_ms=_whole_number(fields.get("MachineDetectionDuration")),
            raw=fields,
        )
    return UnknownReport(carrier_call_id=call_id, account_id=account, word="", raw=fields)


def _call_changed(
    fields: Mapping[str, str], call_id: str, account: str, delivery_id: str | None
) -> CallChanged:
    word = fields["CallStatus"]
    return CallChanged(
        carrier_call_id=call_id,
        account_id=account,
        event=CALL_EVENTS.get(word, CallEvent.UNKNOWN),
        carrier_word=word,
        sequence=_whole_number(fields.get("SequenceNumber")),
        # CallDuration is seconds; Duration is billed minutes.
        duration_s=_whole_number(fields.get("CallDuration")),
        cause=fields.get("SipResponseCode", ""),
        from_number=fields.get("From") or None,
        to_number=fields.get("To") or None,
        answered_by=fields.get("AnsweredBy") or None,
        delivery_id=delivery_id,
        raw=fields,
    )


def _is_form(request: WebhookRequest) -> bool:
    """Whether the body's parameters are signed. A POST without body and type is an empty form."""
    if request.method.upper() == "GET":
        return False
    return request.content_type == _FORM or not (request.content_type or request.body)


def _parameters(request: WebhookRequest) -> Sequence[tuple[str, str]]:
    """The request's parameters in order: of the query for a GET, of the body for a form."""
    try:
        if request.method.upper() == "GET":
            return parse_qsl(urlsplit(request.url).query, keep_blank_values=True, errors="strict")
        if _is_form(request):
            return parse_qsl(request.body.decode(), keep_blank_values=True, errors="strict")
    except ValueError:
        raise InvalidRequest("the parameters are not UTF-8 text") from None
    raise InvalidRequest("the body must be a form")


def _join_for_signing(parameters: Sequence[tuple[str, str]]) -> str:
    """Distinct pairs, by name and then by value in code-point order, with nothing between them."""
    return "".join(name + value for name, value in sorted(set(parameters)))


def _check_body_hash(request: WebhookRequest) -> None:
    """Refuse a body that neither the signature covers nor a ``bodySHA256`` in the signed query."""
    try:
        named = parse_qs(urlsplit(request.url).query).get(_BODY_HASH)
    except ValueError:
        raise SignatureError("the URL cannot be read", signed_url=request.url) from None
    if named is None:
        if not request.body:
            return
        raise SignatureError("the body is not covered by the signature", signed_url=request.url)
    if not _equal(hashlib.sha256(request.body).hexdigest(), named[0]):
        raise SignatureError("the body is not the one that was signed", signed_url=request.url)


def _signed_urls(url: str) -> Iterator[str]:
    """Every form in which Twilio may have signed ``url``.

    User name and fragment are never signed. Over https Twilio's voice servers leave the port out,
    others keep it or name the default one.

    Raises:
        SignatureError: ``url`` is none.
    """
    parts = _URL.fullmatch(url)
    if parts is None:
        raise SignatureError("the URL cannot be read", signed_url=url)
    scheme, host, rest = parts["scheme"], parts["host"], parts["rest"]
    port = parts["port"] or _DEFAULT_PORTS.get(scheme.lower())
    yield f"{scheme}://{host}{rest}"
    if port:
        yield f"{scheme}://{host}:{port}{rest}"


def _check_signature(
    signature: str,
    candidates: Sequence[str],
    request: WebhookRequest | UpgradeRequest,
    account: TwilioAccount,
) -> None:
    key_id, algorithm = _signature_settings(request.header(_SIGNATURE_SETTINGS))
    new_hash = _HASHES.get(algorithm.upper())
    if new_hash is None:
        raise SignatureError("unknown algorithm", signed_url=request.url)
    keys = _keys(account, key_id)
    if not keys:
        raise SignatureError(
            "the secret that signs is not set up for this account", signed_url=request.url
        )
    # Every pair is computed, whichever fits, so that time tells nothing.
    fits = [
        _equal(b64encode(hmac.new(key, _utf8(text), new_hash).digest()).decode(), signature)
        for key in keys
        for text in candidates
    ]
    if not any(fits):
        raise SignatureError("no candidate fits", signed_url=request.url)


def _signature_settings(header: str | None) -> tuple[str, str]:
    """``key=<id>,algorithm=<name>`` as a pair; an id means that a SharedKey signed."""
    found = dict(part.strip().split("=", 1) for part in (header or "").split(",") if "=" in part)
    return found.get("key", ""), found.get("algorithm", "") or "HMAC_SHA1"


def _keys(account: TwilioAccount, key_id: str) -> Sequence[bytes]:
    tokens = (
        (account.shared_key_secret,)
        if key_id
        else (account.auth_token, account.secondary_auth_token)
    )
    return [_secret_bytes(token) for token in tokens if token is not None]


def _secret_bytes(secret: SecretStr) -> bytes:
    return _utf8(secret.get_secret_value())


def _utf8(text: str) -> bytes:
    """Header and URL bytes may have been decoded with surrogates; they must not raise here."""
    return text.encode("utf-8", "surrogatepass")


def _equal(expected: str, given: str) -> bool:
    return hmac.compare_digest(_utf8(expected), _utf8(given))


def _require_sid(fields: Mapping[str, str], name: str) -> str:
    value = fields.get(name, "")
    if not _SID.fullmatch(value):
        raise InvalidRequest(f"{name} is missing or malformed", field=name)
    return value


def _whole_number(value: str | None) -> int | None:
    return int(value) if value and len(value) < 19 and value.isascii() and value.isdigit() else None
