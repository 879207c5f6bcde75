"""Who opens a Genesys socket: API key and HTTP message signature. There are no webhooks.

The signature is an early form of RFC 9421; Genesys' reference implementation has the same checks
(https://github.com/purecloudlabs/audiohook-reference-implementation).
"""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from trunkline.carriers.genesys.account import GenesysAccount
from trunkline.errors import MissingProof, SignatureError
from trunkline.telephony.carrier import CarrierAccount
from trunkline.telephony.webhook import UpgradeRequest

__all__ = ["LONGEST_AGE_S", "upgrade_nonce", "verify_upgrade"]

LONGEST_AGE_S = 10
"""A signature is good for so long; a nonce must be remembered for longer."""

_CLOCK_SKEW_S = 3
_FEWEST_NONCE_CHARS = 22

_API_KEY, _ORGANIZATION = "x-api-key", "audiohook-organization-id"
_SIGNATURE, _SIGNATURE_INPUT = "signature", "signature-input"

_COMPONENTS = frozenset(
    {
        "@request-target",
        "@authority",
        _ORGANIZATION,
        "audiohook-session-id",
        "audiohook-correlation-id",
        _API_KEY,
    }
)
"""What a signature must cover; and all that we know how to read."""

_DEFAULT_PORTS = {"https": ":443", "wss": ":443", "http": ":80", "ws": ":80"}

# The part of RFC 8941 (structured fields) that these two headers use.
_STRING = r'"(?:[ !#-\[\]-~]|\\["\\])*"'
_KEY = r"[a-z*][a-z0-9_.*-]*"
_MEMBER = re.compile(
    rf"[ \t]*(?P<label>{_KEY})=\((?P<items>[ ]*(?:{_STRING}(?:[ ]+{_STRING})*)?[ ]*)\)"
    rf"(?P<parameters>(?:;[ ]*{_KEY}=(?:{_STRING}|-?[0-9]{{1,15}}))*)[ \t]*"
)
_PARAMETER = re.compile(rf";[ ]*(?P<name>{_KEY})=(?P<value>{_STRING}|-?[0-9]{{1,15}})")
_SIGNATURE_MEMBER = re.compile(rf"[ \t]*(?P<label>{_KEY})=:(?P<value>[A-Za-z0-9+/=]*):[ \t]*")
_PARAMETER_NAMES = frozenset({"keyid", "nonce", "alg", "created", "expires"})


@dataclass(frozen=True, slots=True, kw_only=True)
class _SignatureInput:
    components: Sequence[str]
    parameters: Mapping[str, str | int]

    def serialise(self) -> str:
        """As it stands in the last line of what is signed: in the sender's order."""
        listed = " ".join(f'"{name}"' for name in self.components)
        told = "".join(
            f";{name}={value}" if isinstance(value, int) else f";{name}={_quote(value)}"
            for name, value in self.parameters.items()
        )
        return f"({listed}){told}"

    def text(self, name: str) -> str:
        value = self.parameters.get(name)
        return value if isinstance(value, str) else ""

    def number(self, name: str) -> int | None:
        value = self.parameters.get(name)
        return value if isinstance(value, int) else None


def verify_upgrade(request: UpgradeRequest, account: CarrierAccount) -> None:
    """Check a media socket: API key, organisation, and the signature over both, URL and ids.

    Whether the nonce has been used before is for whoever can remember: see ``upgrade_nonce``.

    Raises:
        MissingProof: There is no API key, or no signature though one is needed.
        SignatureError: One of them is wrong, or the signature is too old.
    """
    ours = GenesysAccount.require(account)
    given_key = request.header(_API_KEY)
    if not given_key:
        raise MissingProof
    expected_key = "" if ours.api_key is None else ours.api_key.get_secret_value()
    if not expected_key or not hmac.compare_digest(_utf8(given_key), _utf8(expected_key)):
        raise SignatureError("the API key is not ours")
    organization = _header_value(request, _ORGANIZATION)
    if ours.organization_id and organization.lower() != ours.organization_id:
        raise SignatureError("the organisation is not ours")
    if request.header(_SIGNATURE_INPUT) is None or request.header(_SIGNATURE) is None:
        if ours.signing_key is None and ours.accept_unsigned:
            return
        raise MissingProof
    _check_signature(request, ours.signing_key, given_key)


def upgrade_nonce(request: UpgradeRequest) -> str | None:
    """The number in a verified signature that must not come twice; None without a signature."""
    try:
        return _read_input(request)[1].text("nonce") or None
    except SignatureError:
        return None


def _check_signature(request: UpgradeRequest, key: bytes | None, api_key: str) -> None:
    if key is None:
        raise SignatureError("the client secret is not set up", signed_url=request.url)
    label, signed = _read_input(request)
    _check_parameters(signed, request.received_at_s, api_key)
    base = [f'"{name}": {_component(request, name)}' for name in signed.components]
    base.append(f'"@signature-params": {signed.serialise()}')
    expected = b64encode(hmac.new(key, _utf8("\n".join(base)), hashlib.sha256).digest())
    if not hmac.compare_digest(expected, _utf8(_read_signature(request, label))):
        raise SignatureError("the signature does not fit", signed_url=request.url)


def _check_parameters(signed: _SignatureInput, now_s: float, api_key: str) -> None:
    """Raise unless everything is covered, by the right key, and now."""
    components = signed.components
    if len(components) != len(_COMPONENTS) or frozenset(components) != _COMPONENTS:
        raise SignatureError("other parts are signed than must be")
    if signed.text("alg") != "hmac-sha256":
        raise SignatureError("unknown algorithm")
    if not hmac.compare_digest(_utf8(signed.text("keyid")), _utf8(api_key)):
        raise SignatureError("signed under another API key")
    if len(signed.text("nonce")) < _FEWEST_NONCE_CHARS:
        raise SignatureError("the nonce is missing or too short")
    created, expires = signed.number("created"), signed.number("expires")
    if created is None or not -_CLOCK_SKEW_S <= now_s - created <= LONGEST_AGE_S:
        raise SignatureError("signed too long ago, or in the future")
    if "expires" in signed.parameters and (expires is None or expires <= now_s):
        raise SignatureError("expired")


def _read_input(request: UpgradeRequest) -> tuple[str, _SignatureInput]:
    """The first member of ``Signature-Input`` with its label.

    Raises:
        SignatureError: There is none, or it has parameters that we do not know.
    """
    member = _MEMBER.match(_header_value(request, _SIGNATURE_INPUT))
    if member is None or member.string[member.end() : member.end() + 1] not in ("", ","):
        raise SignatureError("Signature-Input cannot be read")
    parameters: dict[str, str | int] = {}
    for parameter in _PARAMETER.finditer(member["parameters"]):
        name, value = parameter["name"], parameter["value"]
        if name in parameters or name not in _PARAMETER_NAMES:
            raise SignatureError("Signature-Input has parameters that are not known")
        parameters[name] = _unquote(value) if value.startswith('"') else int(value)
    components = [_unquote(text) for text in re.findall(_STRING, member["items"])]
    return member["label"], _SignatureInput(components=components, parameters=parameters)


def _read_signature(request: UpgradeRequest, label: str) -> str:
    """The signature under ``label``, in base64.

    Raises:
        SignatureError: There is none.
    """
    for text in _header_value(request, _SIGNATURE).split(","):
        member = _SIGNATURE_MEMBER.fullmatch(text)
        if member is not None and member["label"] == label:
            return member["value"]
    raise SignatureError("Signature cannot be read")


def _component(request: UpgradeRequest, name: str) -> str:
    try:
        parts = urlsplit(request.url)
    except ValueError:
        raise SignatureError("the URL cannot be read", signed_url=request.url) from None
    if name == "@request-target":
        # Byte for byte as it came: path and query, without the method.
        return "/" + request.url.partition("://")[2].partition("/")[2]
    if name == "@authority":
        return parts.netloc.lower().removesuffix(_DEFAULT_PORTS.get(parts.scheme, ":"))
    return _header_value(request, name)


def _header_value(request: UpgradeRequest, name: str) -> str:
    """All headers of that name: folded lines unfolded, joined as RFC 9421 §2.1 has it."""
    values = [value for key, value in request.headers if key.lower() == name]
    return ", ".join(re.sub(r"[ \t]*\r?\n[ \t]+", " ", value).strip() for value in values)


def _quote(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _unquote(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1])


def _utf8(text: str) -> bytes:
    """Header and URL bytes may have been decoded with surrogates; they must not raise here."""
    return text.encode("utf-8", "surrogatepass")
