"""Every exception that Trunkline raises on purpose, sorted by what the caller can do about it.

::

    TrunklineError
    ├── ConfigError                 set-up is wrong: someone must change it (also a ValueError)
    ├── UnknownCarrier              no carrier of that name (also a LookupError)
    ├── UnknownAgent                no such agent, or it is disabled (also a LookupError)
    ├── UnknownCall                 no call of that id (also a LookupError)
    │   └── UnknownRecording        the call is there, but no recording of it
    ├── UnsupportedByCarrier        the carrier has no such feature; nothing was sent
    ├── InvalidRequest              what a client sent cannot be used (also a ValueError)
    │   └── InvalidNumber           not a phone number in E.164
    ├── Conflict                    the request contradicts what is stored
    ├── AccessDenied
    │   ├── MissingProof            no signature, token or key was presented
    │   ├── InvalidKey              no such API key, or it is revoked
    │   ├── SignatureError          the carrier's signature does not fit
    │   └── TokenError              stream token: forged, expired or used up
    ├── NoFreeSlot                  a limit is reached; carries scope, limit, in_use
    ├── Draining                    this process admits no new calls
    ├── ProtocolError               a media stream broke its protocol
    │   ├── LocalProtocolError      our bug: a verb was called in the wrong state
    │   └── RemoteProtocolError     theirs; carries the WebSocket close code to answer with
    ├── CarrierError                a carrier's REST API; carries retryable
    │   ├── CarrierTimeout          no answer in time; a dial may or may not have happened
    │   ├── CarrierUnavailable      connection failed, or 5xx
    │   ├── CarrierBusy             429: not processed, try later
    │   └── CarrierRejected         4xx: the carrier says no; carries status and its own code
    ├── DispatchError               no worker could be had for the call
    │   ├── WorkerFailed            a worker died, hung or never became ready
    │   └── ChannelError            bytes on the gateway ↔ worker channel that make no sense
    └── StoreError                  the database refused or is away
        └── StoreUnavailable

Exceptions carry data; ``__str__`` makes the sentence. HTTP statuses live in
``trunkline.http.errors`` only.
"""

from __future__ import annotations

__all__ = [
    "AccessDenied",
    "CarrierBusy",
    "CarrierError",
    "CarrierRejected",
    "CarrierTimeout",
    "CarrierUnavailable",
    "ChannelError",
    "ConfigError",
    "Conflict",
    "DispatchError",
    "Draining",
    "InvalidKey",
    "InvalidNumber",
    "InvalidRequest",
    "LocalProtocolError",
    "MissingProof",
    "NoFreeSlot",
    "ProtocolError",
    "RemoteProtocolError",
    "SignatureError",
    "StoreError",
    "StoreUnavailable",
    "TokenError",
    "TrunklineError",
    "UnknownAgent",
    "UnknownCall",
    "UnknownCarrier",
    "UnknownRecording",
    "UnsupportedByCarrier",
    "WorkerFailed",
]


class TrunklineError(Exception):
    """Root of the tree.

    ``code`` is the stable word that API clients match on.
    """

    code = "internal_error"

    @property
    def details(self) -> dict[str, object]:
        """What an API client may see beside the message; never a secret."""
        return {}


class ConfigError(TrunklineError, ValueError):
    """Set-up is wrong.

    The message says what to change, ``field`` names the setting, if any.
    """

    code = "config_error"

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field

    def __str__(self) -> str:
        return self.message

    @property
    def details(self) -> dict[str, object]:
        """See ``TrunklineError``."""
        return {"field": self.field} if self.field else {}


class UnknownCarrier(TrunklineError, LookupError):
    """There is no carrier of that name."""

    code = "unknown_carrier"

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    def __str__(self) -> str:
        return f"there is no carrier named {self.name!r}"


class UnknownAgent(TrunklineError, LookupError):
    """There is no agent of that name, or it is disabled."""

    code = "unknown_agent"

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    def __str__(self) -> str:
        return f"there is no enabled agent named {self.name!r}"


class UnknownCall(TrunklineError, LookupError):
    """There is no call of that id."""

    code = "unknown_call"

    def __init__(self, call_id: str) -> None:
        super().__init__(call_id)
        self.call_id = call_id

    def __str__(self) -> str:
        return f"there is no call {self.call_id!r}"


class UnknownRecording(UnknownCall):
    """The call was not recorded, or its recording has been removed."""

    code = "unknown_recording"

    def __str__(self) -> str:
        return f"there is no recording of call {self.call_id!r}"


class UnsupportedByCarrier(TrunklineError):
    """Raised before anything is sent to the carrier."""

    code = "unsupported_by_carrier"

    def __init__(self, carrier: str, feature: str) -> None:
        super().__init__(carrier, feature)
        self.carrier = carrier
        self.feature = feature

    def __str__(self) -> str:
        return f"{self.carrier} does not support {self.feature}"

    @property
    def details(self) -> dict[str, object]:
        """See ``TrunklineError``."""
        return {"provider": self.carrier, "feature": self.feature}


class InvalidRequest(TrunklineError, ValueError):
    """What came in cannot be used.

    ``code`` may be narrowed by the raiser.
    """

    code = "invalid_request"

    def __init__(self, message: str, *, field: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        if code is not None:
            self.code = code

    def __str__(self) -> str:
        return self.message

    @property
    def details(self) -> dict[str, object]:
        """See ``TrunklineError``."""
        return {"field": self.field} if self.field else {}


class InvalidNumber(InvalidRequest):
    """Not a phone number in E.164 (ITU-T E.164: a plus sign and up to 15 digits)."""

    code = "invalid_number"

    def __init__(self, field: str) -> None:
        super().__init__(
            f"{field} must be a phone number in E.164, such as +14155550100", field=field
        )


class Conflict(TrunklineError):
    """The request contradicts what is stored, such as a second agent of one name."""

    code = "conflict"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code

    def __str__(self) -> str:
        return self.message


class AccessDenied(TrunklineError):
    """Abstract: someone has not proved who they are.

    The text never says what was expected.
    """

    code = "access_denied"


class MissingProof(AccessDenied):
    """No signature, token or key was presented."""

    code = "missing_proof"

    def __str__(self) -> str:
        return "no proof of origin was presented"


class InvalidKey(AccessDenied):
    """The API key is none of ours, or it was revoked."""

    code = "invalid_key"

    def __str__(self) -> str:
        return "the API key is not valid"


class SignatureError(AccessDenied):
    """The signature is wrong.

    ``signed_url`` is what was checked, for the log and ``doctor``.
    """

    code = "invalid_signature"

    def __init__(self, reason: str, *, signed_url: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.signed_url = signed_url

    def __str__(self) -> str:
        return f"signature refused: {self.reason}"


class TokenError(AccessDenied):
    """A stream token is forged, expired or used up."""

    code = "invalid_token"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"stream token refused: {self.reason}"


class NoFreeSlot(TrunklineError):
    """A concurrency limit is reached.

    ``scope`` is ``carrier:<name>``, ``agent:<name>`` or ``machine``.
    """

    code = "limit_reached"

    def __init__(self, *, scope: str, limit: int, in_use: int, carrier: str | None = None) -> None:
        super().__init__(scope, limit, in_use)
        self.scope = scope
        self.limit = limit
        self.in_use = in_use
        self.carrier = carrier

    def __str__(self) -> str:
        return f"{self.in_use} of {self.limit} calls are in use in {self.scope}"

    @property
    def details(self) -> dict[str, object]:
        """See ``TrunklineError``."""
        found: dict[str, object] = {"scope": self.scope, "limit": self.limit, "in_use": self.in_use}
        if self.carrier is not None:
            found["provider"] = self.carrier
        return found


class Draining(TrunklineError):
    """This process admits no new calls."""

    code = "draining"

    def __str__(self) -> str:
        return "this server is draining and takes no new calls"


class ProtocolError(TrunklineError):
    """Abstract: a media stream broke its protocol."""

    code = "protocol_error"


class LocalProtocolError(ProtocolError):
    """Our side called a verb that the state does not allow: a bug here, not at the carrier."""


class RemoteProtocolError(ProtocolError):
    """The peer sent something that its protocol does not allow.

    ``close_code`` is RFC 6455 §7.4.
    """

    def __init__(self, reason: str, *, close_code: int = 1002) -> None:
        super().__init__(reason)
        self.reason = reason
        self.close_code = close_code

    def __str__(self) -> str:
        return self.reason


class CarrierError(TrunklineError):
    """A carrier's REST API failed us.

    ``retryable``: the request may be sent again without harm.
    """

    code = "carrier_error"
    retryable = False

    def __init__(self, carrier: str, operation: str, *, reason: str = "") -> None:
        super().__init__(carrier, operation, reason)
        self.carrier = carrier
        self.operation = operation
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.carrier} {self.operation}: {self.reason or self.code}"

    @property
    def details(self) -> dict[str, object]:
        """See ``TrunklineError``."""
        return {"provider": self.carrier, "operation": self.operation}


class CarrierTimeout(CarrierError):
    """No answer in time.

    Whether the request was carried out is unknown, so a dial must not be repeated.
    """

    code = "carrier_timeout"


class CarrierUnavailable(CarrierError):
    """The connection failed or the answer was 5xx.

    Retryable where the operation is idempotent, or nothing was sent.
    """

    code = "carrier_unavailable"

    def __init__(
        self, carrier: str, operation: str, *, reason: str = "", retryable: bool = False
    ) -> None:
        super().__init__(carrier, operation, reason=reason)
        self.retryable = retryable


class CarrierBusy(CarrierError):
    """HTTP 429: the request was not processed and may be repeated later."""

    code = "carrier_rate_limited"
    retryable = True


class CarrierRejected(CarrierError):
    """HTTP 4xx: the carrier refused.

    ``status`` is HTTP's, ``carrier_code`` the carrier's own number or word.
    """

    code = "carrier_rejected"

    def __init__(
        self, carrier: str, operation: str, *, status: int, carrier_code: str = "", reason: str = ""
    ) -> None:
        super().__init__(carrier, operation, reason=reason)
        self.status = status
        self.carrier_code = carrier_code

    @property
    def details(self) -> dict[str, object]:
        """See ``TrunklineError``."""
        return {**super().details, "carrier_status": self.status, "carrier_code": self.carrier_code}


class DispatchError(TrunklineError):
    """No worker could be had for the call."""

    code = "no_worker"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


class WorkerFailed(DispatchError):
    """A worker died, hung, or never became ready."""

    code = "bot_failed"


class ChannelError(DispatchError):
    """Bytes on a channel that make no sense: wrong version, too long, unknown kind, undecodable."""

    code = "channel_error"


class StoreError(TrunklineError):
    """The database refused, or is away."""

    code = "store_error"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


class StoreUnavailable(StoreError):
    """The database is away or did not answer in time; the same request may be sent again."""

    code = "store_unavailable"
