"""Vonage's REST APIs: Voice, and for set-up Numbers and Applications.

https://developer.vonage.com/en/api/voice
https://developer.vonage.com/en/api/numbers
https://developer.vonage.com/en/api/application.v2

Requests and answers are JSON. There is no idempotency key: a dial that got no answer may have
dialled, so dials and redirects are sent once; reading and hanging up may be repeated without harm,
and are.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import TypeVar
from urllib.parse import quote

import httpx
import jwt
import stamina
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from trunkline.carriers.vonage.account import VonageAccount
from trunkline.carriers.vonage.webhook import CALL_EVENTS, normalise_number, normalise_uuid
from trunkline.errors import (
    CarrierBusy,
    CarrierError,
    CarrierRejected,
    CarrierTimeout,
    CarrierUnavailable,
)
from trunkline.telephony.call import FINAL_STATES, CallEvent, CallState, Direction, advance
from trunkline.telephony.carrier import (
    AmdMode,
    CarrierAccount,
    CarrierCall,
    CarrierClient,
    CarrierNumber,
    DialOrder,
    PlacedCall,
)

__all__ = ["TOKEN_LIFE_S", "TOKEN_REUSE_S", "VonageClient", "new_client", "new_token"]

TOKEN_LIFE_S = 15 * 60
"""Until a token of ours expires; Vonage takes up to 24 hours."""
TOKEN_REUSE_S = 10 * 60
"""One token serves all requests for so long."""

_NAME = "vonage"
_TIMEOUT = httpx.Timeout(10.0, connect=5.0)

_RETRYING = stamina.AsyncRetryingCaller(attempts=4, timeout=30.0, wait_max=4.0)

_PAGE_SIZE = 100
_OPEN_STATUSES = ("started", "ringing", "answered")
"""In the order a call passes through, so that one that moves on between two requests is seen at
least once."""

_MACHINE_DETECTION = {AmdMode.DETECT: "detect", AmdMode.MESSAGE_END: "detect_beep"}
_BEEP_TIMEOUT_S = 45

# Vonage's own sentences may name phone numbers, so they are not passed on.
_REASONS: Mapping[int, str] = {
    HTTPStatus.BAD_REQUEST: "the request is refused",
    HTTPStatus.UNAUTHORIZED: "the credentials are refused, or this machine's clock is wrong",
    HTTPStatus.PAYMENT_REQUIRED: "the account has no credit",
    HTTPStatus.FORBIDDEN: "the account may not do that",
    HTTPStatus.NOT_FOUND: "there is no such resource in this region",
}


class _Reply(BaseModel):
    # Replies hold phone numbers, and a validation error would print them.
    model_config = ConfigDict(extra="allow", hide_input_in_errors=True, coerce_numbers_to_str=True)

    def fields(self) -> Mapping[str, object]:
        return self.model_dump(by_alias=True)


class _Placed(_Reply):
    uuid: str = Field(min_length=1)
    status: str = ""


class _Endpoint(_Reply):
    type: str = ""
    number: str | None = None
    uri: str | None = None

    @property
    def address(self) -> str:
        return normalise_number(self.number or self.uri or "")


class _Call(_Reply):
    uuid: str = Field(min_length=1)
    status: str
    direction: str | None = None
    from_: _Endpoint = Field(default_factory=_Endpoint, alias="from")
    to: _Endpoint = Field(default_factory=_Endpoint)
    duration: str | None = None


class _CallList(_Reply):
    calls: list[_Call] = []


class _CallPage(_Reply):
    embedded: _CallList = Field(default_factory=_CallList, alias="_embedded")


class _Number(_Reply):
    msisdn: str
    app_id: str | None = None


class _NumberPage(_Reply):
    numbers: list[_Number] = []


class _Webhook(_Reply):
    address: str | None = None
    http_method: str | None = None


class _Webhooks(_Reply):
    answer_url: _Webhook | None = None


class _Voice(_Reply):
    webhooks: _Webhooks = Field(default_factory=_Webhooks)


class _Capabilities(_Reply):
    voice: _Voice | None = None


class _Application(_Reply):
    capabilities: _Capabilities = Field(default_factory=_Capabilities)


class _Error(_Reply):
    type: str | None = None


_R = TypeVar("_R", bound=_Reply)
_Body = Mapping[str, object]


def new_token(application_id: str, private_key: str, *, now_s: float, jti: str) -> str:
    """Make an application's token, which proves REST requests.

    Args:
        application_id: Whose.
        private_key: PEM.
        now_s: The time now, seconds since 1970.
        jti: Different for every token.
    """
    issued = int(now_s)
    claims = {
        "application_id": application_id,
        "iat": issued,
        "nbf": issued,
        "jti": jti,
        "exp": issued + TOKEN_LIFE_S,
    }
    return jwt.encode(claims, private_key, algorithm="RS256")


def _random_jti() -> str:
    return str(uuid.uuid4())


class VonageClient:
    """The ``CarrierClient`` of Vonage. It uses ``http`` and does not close it.

    Args:
        account: Whose calls.
        http: Shared by all clients of the process.
        request_timeout_s: Seconds for one whole request: httpx bounds each read, not a peer that
            answers a byte at a time.
        now_s: Clock that tokens are dated by, seconds since 1970.
        new_jti: Makes each token's id.

    Raises:
        ConfigError: The account lacks the credentials; names what to set.
    """

    __slots__ = (
        "_account",
        "_application_id",
        "_http",
        "_new_jti",
        "_now_s",
        "_private_key",
        "_request_timeout_s",
        "_token",
        "_token_from_s",
    )

    def __init__(
        self,
        account: VonageAccount,
        http: httpx.AsyncClient,
        *,
        request_timeout_s: float = 15.0,
        now_s: Callable[[], float] = time.time,
        new_jti: Callable[[], str] = _random_jti,
    ) -> None:
        self._application_id, self._private_key = account.rest_credentials
        self._account = account
        self._http = http
        self._request_timeout_s = request_timeout_s
        self._now_s = now_s
        self._new_jti = new_jti
        self._token = ""
        self._token_from_s = 0.0

    async def place_call(self, order: DialOrder) -> PlacedCall:
        """Create the call. Vonage takes three dials a second of an account."""
        content = await self._send("place call", "POST", "/v1/calls", json=_dial(order))
        placed = _read("place call", _Placed, content)
        return PlacedCall(
            carrier_call_id=normalise_uuid(placed.uuid),
            event=CALL_EVENTS.get(placed.status, CallEvent.UNKNOWN),
            raw=placed.fields(),
        )

    async def hang_up(self, carrier_call_id: str) -> None:
        """End the phone's leg, which ends the media socket's with it."""
        try:
            await self._repeat(
                "hang up", "PUT", _call_path(carrier_call_id), json={"action": "hangup"}
            )
        except CarrierRejected as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return
            # Refused as not possible in the call's state, which may be that it is over.
            if error.status != HTTPStatus.BAD_REQUEST or not await self._is_over(carrier_call_id):
                raise

    async def fetch_call(self, carrier_call_id: str) -> CarrierCall | None:
        """Read the call; None when Vonage has none of that UUID in the account's region."""
        try:
            content = await self._repeat("fetch call", "GET", _call_path(carrier_call_id))
        except CarrierRejected as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            raise
        return _carrier_call(_read("fetch call", _Call, content, repeatable=True))

    async def fetch_open_calls(self) -> Sequence[CarrierCall]:
        """Open phone legs of the account, ours or not, at most 100 in each status."""
        what = "fetch open calls"
        found: dict[str, CarrierCall] = {}
        for status in _OPEN_STATUSES:
            query = {"status": status, "page_size": str(_PAGE_SIZE)}
            content = await self._repeat(what, "GET", "/v1/calls", params=query)
            page = _read(what, _CallPage, content, repeatable=True)
            calls = [_carrier_call(call) for call in page.embedded.calls if _is_phone(call)]
            found.update((call.carrier_call_id, call) for call in calls)
        return list(found.values())

    async def redirect(self, carrier_call_id: str, url: str) -> None:
        """Give the call a new document, which asks ``url`` for the next one.

        Not a transfer to the URL itself, which Vonage may fetch by GET and so without a hash that
        is documented: ``notify`` is a signed POST, and its answer replaces the document. The call
        moves to a new conversation, which ends its media stream. Sent once: a repetition after a
        lost answer would end the stream that the first one has led to.
        """
        notify = {
            "action": "notify",
            "payload": {"call_uuid": carrier_call_id},
            "eventUrl": [url],
            "eventMethod": "POST",
        }
        body = {"action": "transfer", "destination": {"type": "ncco", "ncco": [notify]}}
        await self._send("redirect", "PUT", _call_path(carrier_call_id), json=body)

    async def press_keys(self, carrier_call_id: str, digits: str) -> None:
        """Play DTMF tones into the call: ``0-9 * #``, and ``p`` for half a second's pause."""
        path = f"{_call_path(carrier_call_id)}/dtmf"
        await self._send("press keys", "PUT", path, json={"digits": digits})

    async def fetch_number(self, number: str) -> CarrierNumber | None:
        """Read a number and the answer URL of the application that it is attached to.

        Raises:
            CarrierRejected: Also without an API secret: numbers are read with it, not with the
                application's key.
        """
        what = "fetch number"
        auth = self._account_auth(what)
        digits = number.removeprefix("+")
        content = await self._repeat(
            what,
            "GET",
            "/account/numbers",
            base_url=self._account.numbers_base_url,
            auth=auth,
            params={"pattern": digits, "search_pattern": "0", "size": str(_PAGE_SIZE)},
        )
        page = _read(what, _NumberPage, content, repeatable=True)
        # The pattern is only how a number begins.
        found = next((item for item in page.numbers if item.msisdn == digits), None)
        if found is None:
            return None
        answer = _Webhook() if found.app_id is None else await self._answer_url(found.app_id, auth)
        return CarrierNumber(
            number=number,
            number_id=found.msisdn,
            voice_url=answer.address or None,
            voice_method=answer.http_method or None,
            raw=found.fields(),
        )

    async def check_credentials(self) -> None:
        """List one call, which proves application and key."""
        await self._repeat("check credentials", "GET", "/v1/calls", params={"page_size": "1"})

    async def _answer_url(self, application_id: str, auth: httpx.Auth) -> _Webhook:
        what = "fetch application"
        content = await self._repeat(
            what,
            "GET",
            f"/v2/applications/{quote(application_id, safe='')}",
            base_url=self._account.applications_base_url,
            auth=auth,
        )
        voice = _read(what, _Application, content, repeatable=True).capabilities.voice
        return (voice and voice.webhooks.answer_url) or _Webhook()

    async def _is_over(self, carrier_call_id: str) -> bool:
        call = await self.fetch_call(carrier_call_id)
        return call is None or advance(CallState.IN_PROGRESS, call.event) in FINAL_STATES

    def _account_auth(self, operation: str) -> httpx.Auth:
        key, secret = self._account.api_key, self._account.api_secret
        if key is None or secret is None:
            raise CarrierRejected(
                _NAME,
                operation,
                status=HTTPStatus.UNAUTHORIZED,
                reason="set VONAGE_API_KEY and VONAGE_API_SECRET to read numbers",
            )
        return httpx.BasicAuth(key, secret.get_secret_value())

    def _bearer(self) -> str:
        now_s = self._now_s()
        if not self._token or not 0 <= now_s - self._token_from_s < TOKEN_REUSE_S:
            self._token = new_token(
                self._application_id, self._private_key, now_s=now_s, jti=self._new_jti()
            )
            self._token_from_s = now_s
        return f"Bearer {self._token}"

    async def _repeat(
        self,
        operation: str,
        method: str,
        path: str,
        *,
        base_url: str | None = None,
        auth: httpx.Auth | None = None,
        params: Mapping[str, str] | None = None,
        json: _Body | None = None,
    ) -> bytes:
        """``_send`` what may be carried out twice, again and again while Vonage does not answer."""
        return await _RETRYING(
            (CarrierTimeout, CarrierUnavailable, CarrierBusy),
            self._send,
            operation,
            method,
            path,
            base_url=base_url,
            auth=auth,
            params=params,
            json=json,
            repeatable=True,
        )

    async def _send(
        self,
        operation: str,
        method: str,
        path: str,
        *,
        base_url: str | None = None,
        auth: httpx.Auth | None = None,
        params: Mapping[str, str] | None = None,
        json: _Body | None = None,
        repeatable: bool = False,
    ) -> bytes:
        """Send one request, with the application's token unless ``auth`` is given."""
        try:
            async with asyncio.timeout(self._request_timeout_s):
                response = await self._http.request(
                    method,
                    (base_url or self._account.voice_base_url) + path,
                    params=params,
                    json=json,
                    headers=None if auth else {"Authorization": self._bearer()},
                    auth=auth,
                    timeout=_TIMEOUT,
                    follow_redirects=False,
                )
        except (httpx.RequestError, TimeoutError) as error:
            raise _translate_exception(error, operation, repeatable=repeatable) from error
        if not response.is_success:
            raise _translate_status(response, operation, repeatable=repeatable)
        return response.content


def new_client(account: CarrierAccount, http: httpx.AsyncClient) -> CarrierClient:
    """Make the ``VonageClient`` of an account."""
    return VonageClient(VonageAccount.require(account), http)


def _read(operation: str, reply: type[_R], content: bytes, *, repeatable: bool = False) -> _R:
    try:
        return reply.model_validate_json(content)
    except ValidationError as error:
        raise CarrierUnavailable(
            _NAME, operation, reason="the answer cannot be read", retryable=repeatable
        ) from error


def _translate_exception(error: Exception, operation: str, *, repeatable: bool) -> CarrierError:
    match error:
        # Nothing has left for Vonage yet, so that even a dial may be repeated.
        case httpx.ConnectError() | httpx.ConnectTimeout() | httpx.PoolTimeout():
            return CarrierUnavailable(_NAME, operation, reason="no connection", retryable=True)
        case httpx.TimeoutException() | TimeoutError():
            return CarrierTimeout(_NAME, operation, reason="no answer in time")
        case _:
            return CarrierUnavailable(
                _NAME, operation, reason="the connection was lost", retryable=repeatable
            )


def _translate_status(
    response: httpx.Response, operation: str, *, repeatable: bool
) -> CarrierError:
    status = response.status_code
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return CarrierBusy(_NAME, operation, reason="too many requests")
    if response.is_server_error:
        return CarrierUnavailable(_NAME, operation, reason=f"HTTP {status}", retryable=repeatable)
    reason = _REASONS.get(status, "the request is refused")
    return CarrierRejected(
        _NAME,
        operation,
        status=status,
        carrier_code=_error_code(response.content),
        reason=f"{reason} (HTTP {status})",
    )


def _error_code(content: bytes) -> str:
    """``type`` of an error: a word, or a URL (RFC 7807) whose end is one."""
    try:
        kind = _Error.model_validate_json(content).type
    except ValidationError:
        return ""
    return (kind or "").rpartition("#")[2].rpartition("/")[2][:64]


def _dial(order: DialOrder) -> _Body:
    body: dict[str, object] = {
        "to": [{"type": "phone", "number": order.to_number.removeprefix("+")}],
        "from": {"type": "phone", "number": order.from_number.removeprefix("+")},
        "answer_url": [order.answer_url],
        "answer_method": "POST",
        "event_url": [order.status_url],
        "event_method": "POST",
        "ringing_timer": order.ring_timeout_s,
    }
    if order.max_duration_s is not None:
        body["length_timer"] = order.max_duration_s
    if order.amd is not None:
        # ``continue``: the bot talks meanwhile, and hears of the verdict.
        body["advanced_machine_detection"] = {
            "behavior": "continue",
            "mode": _MACHINE_DETECTION[order.amd],
            "beep_timeout": _BEEP_TIMEOUT_S,
        }
    return body


def _call_path(carrier_call_id: str) -> str:
    return f"/v1/calls/{quote(carrier_call_id, safe='')}"


def _is_phone(call: _Call) -> bool:
    """Whether a leg is a call, and not the media socket of one."""
    return "websocket" not in (call.to.type, call.from_.type)


def _carrier_call(call: _Call) -> CarrierCall:
    duration = call.duration
    return CarrierCall(
        carrier_call_id=normalise_uuid(call.uuid),
        event=_event(call.status),
        carrier_word=call.status,
        direction=Direction.OUTBOUND if call.direction == "outbound" else Direction.INBOUND,
        from_number=call.from_.address or "anonymous",
        to_number=call.to.address,
        duration_s=int(duration) if duration and duration.isdecimal() else None,
        raw=call.fields(),
    )


def _event(status: str) -> CallEvent:
    # A leg that detection has called a machine's, or a human's, is up.
    if status in ("machine", "human"):
        return CallEvent.ANSWERED
    return CALL_EVENTS.get(status, CallEvent.UNKNOWN)
