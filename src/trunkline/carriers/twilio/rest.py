"""Twilio's REST API, 2010-04-01 (https://www.twilio.com/docs/voice/api/call-resource).

Requests are forms, answers JSON. Twilio has no idempotency key for calls: a dial that got no answer
may have dialled, so dials and redirects are sent once; reading and hanging up may be repeated
without harm, and are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TypeVar
from urllib.parse import quote

import httpx
import stamina
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from trunkline.carriers.twilio.account import TwilioAccount
from trunkline.carriers.twilio.webhook import AMD_VERDICTS, CALL_EVENTS
from trunkline.errors import (
    CarrierBusy,
    CarrierError,
    CarrierRejected,
    CarrierTimeout,
    CarrierUnavailable,
)
from trunkline.telephony.call import CallEvent, Direction
from trunkline.telephony.carrier import (
    AmdMode,
    CarrierAccount,
    CarrierCall,
    CarrierClient,
    CarrierNumber,
    DialOrder,
    PlacedCall,
)
from trunkline.telephony.webhook import AmdVerdict

__all__ = ["INLINE_MARKUP_CHARS", "TwilioClient", "new_client"]

INLINE_MARKUP_CHARS = 4000
"""Longest ``Twiml`` that a create or update request may carry."""

_NAME = "twilio"
_TIMEOUT = httpx.Timeout(10.0, connect=5.0)

_RETRYING = stamina.AsyncRetryingCaller(attempts=4, timeout=30.0, wait_max=4.0)

_PAGE_SIZE = 500
_OPEN_STATUSES = ("queued", "ringing", "in-progress")
"""In the order a call passes through, so that one that moves on between two requests is seen at
least once."""

_MACHINE_DETECTION = {AmdMode.DETECT: "Enable", AmdMode.MESSAGE_END: "DetectMessageEnd"}

_HTTP_NOT_FOUND, _HTTP_TOO_MANY_REQUESTS = 404, 429
_NOT_FOUND, _NOT_IN_PROGRESS = "20404", "21220"

# Twilio's own sentences name phone numbers, so they are not passed on
# (https://www.twilio.com/docs/api/errors).
_REASONS = {
    "10004": "too many calls at once for this account",
    "20003": "the credentials are refused",
    _NOT_FOUND: "there is no such resource",
    "21201": "the number to call is missing",
    "21210": "the caller id is neither owned nor verified",
    "21211": "the number to call is not valid",
    "21212": "the caller id is not valid",
    "21213": "the caller id is missing",
    "21214": "the number to call cannot be reached",
    "21215": "calls to that country are not enabled",
    "21216": "calls to that number are not allowed",
    "21217": "the number to call is not valid",
    "21219": "a trial account calls verified numbers only",
    _NOT_IN_PROGRESS: "the call is not in progress",
}


class _Reply(BaseModel):
    # Replies hold phone numbers, and a validation error would print them.
    model_config = ConfigDict(extra="allow", hide_input_in_errors=True)

    def fields(self) -> Mapping[str, object]:
        return self.model_dump(by_alias=True)


class _Call(_Reply):
    sid: str = Field(min_length=1)
    status: str
    direction: str | None = None
    from_: str | None = Field(default=None, alias="from")
    to: str | None = None
    duration: str | None = None
    answered_by: str | None = None


class _Calls(_Reply):
    calls: list[_Call]


class _Number(_Reply):
    sid: str
    phone_number: str
    voice_url: str | None = None
    voice_method: str | None = None


class _Numbers(_Reply):
    incoming_phone_numbers: list[_Number]


class _Error(_Reply):
    code: int | str | None = None


_R = TypeVar("_R", bound=_Reply)
_Form = Mapping[str, str | list[str]]


class TwilioClient:
    """The ``CarrierClient`` of Twilio. It uses ``http`` and does not close it.

    Args:
        account: Whose calls.
        http: Shared by all clients of the process.
        request_timeout_s: Seconds for one whole request: httpx bounds each read, not a peer that
            answers a byte at a time.

    Raises:
        ConfigError: The account lacks the credentials; names what to set.
    """

    __slots__ = ("_auth", "_http", "_request_timeout_s", "_root")

    def __init__(
        self, account: TwilioAccount, http: httpx.AsyncClient, *, request_timeout_s: float = 15.0
    ) -> None:
        self._auth = httpx.BasicAuth(*account.rest_credentials)
        self._root = f"{account.rest_base_url}/2010-04-01/Accounts/{account.account_id}"
        self._http = http
        self._request_timeout_s = request_timeout_s

    async def place_call(self, order: DialOrder) -> PlacedCall:
        """Create the call. Twilio queues dials above the account's rate, for hours if need be."""
        call = await self._send("place call", "POST", "/Calls.json", _Call, form=_dial_form(order))
        return PlacedCall(
            carrier_call_id=call.sid,
            event=CALL_EVENTS.get(call.status, CallEvent.UNKNOWN),
            raw=call.fields(),
        )

    async def hang_up(self, carrier_call_id: str) -> None:
        """Set the call to ``completed``; it also ends calls that are queued or ringing."""
        try:
            await self._repeat(
                "hang up", "POST", _call_path(carrier_call_id), _Reply, form={"Status": "completed"}
            )
        except CarrierRejected as error:
            if error.status != _HTTP_NOT_FOUND and error.carrier_code not in (
                _NOT_FOUND,
                _NOT_IN_PROGRESS,
            ):
                raise

    async def fetch_call(self, carrier_call_id: str) -> CarrierCall | None:
        """Read the call; None when Twilio has none of that SID, or has deleted it."""
        try:
            call = await self._repeat("fetch call", "GET", _call_path(carrier_call_id), _Call)
        except CarrierRejected as error:
            if error.status == _HTTP_NOT_FOUND:
                return None
            raise
        return _carrier_call(call)

    async def fetch_open_calls(self) -> Sequence[CarrierCall]:
        """Queued, ringing and answered calls of the account, ours or not, at most 500 of each."""
        found: dict[str, CarrierCall] = {}
        for status in _OPEN_STATUSES:
            query = {"Status": status, "PageSize": str(_PAGE_SIZE)}
            page = await self._repeat("fetch open calls", "GET", "/Calls.json", _Calls, query=query)
            found.update((call.sid, _carrier_call(call)) for call in page.calls)
        return list(found.values())

    async def redirect(self, carrier_call_id: str, url: str) -> None:
        """Replace the running markup, which ends the call's media stream at once.

        Sent once: a repetition after a lost answer would end the stream that the first one has led
        to.
        """
        form = {"Url": url, "Method": "POST"}
        await self._send("redirect", "POST", _call_path(carrier_call_id), _Reply, form=form)

    async def fetch_number(self, number: str) -> CarrierNumber | None:
        """Read how a number of the account is set up; None when it has no such number."""
        query = {"PhoneNumber": number}
        page = await self._repeat(
            "fetch number", "GET", "/IncomingPhoneNumbers.json", _Numbers, query=query
        )
        # Twilio's filter also takes parts of numbers.
        for found in page.incoming_phone_numbers:
            if found.phone_number == number:
                return CarrierNumber(
                    number=number,
                    number_id=found.sid,
                    voice_url=found.voice_url or None,
                    voice_method=found.voice_method or None,
                    raw=found.fields(),
                )
        return None

    async def check_credentials(self) -> None:
        """List one call: standard API keys may do that, but not read the account itself."""
        await self._repeat(
            "check credentials", "GET", "/Calls.json", _Calls, query={"PageSize": "1"}
        )

    async def _repeat(
        self,
        operation: str,
        method: str,
        path: str,
        reply: type[_R],
        *,
        form: _Form | None = None,
        query: Mapping[str, str] | None = None,
    ) -> _R:
        """``_send`` what may be carried out twice, again and again while Twilio does not answer."""
        return await _RETRYING(
            (CarrierTimeout, CarrierUnavailable, CarrierBusy),
            self._send,
            operation,
            method,
            path,
            reply,
            form=form,
            query=query,
            repeatable=True,
        )

    async def _send(
        self,
        operation: str,
        method: str,
        path: str,
        reply: type[_R],
        *,
        form: _Form | None = None,
        query: Mapping[str, str] | None = None,
        repeatable: bool = False,
    ) -> _R:
        try:
            async with asyncio.timeout(self._request_timeout_s):
                response = await self._http.request(
                    method,
                    self._root + path,
                    data=form,
                    params=query,
                    auth=self._auth,
                    timeout=_TIMEOUT,
                    follow_redirects=False,
                )
        except (httpx.RequestError, TimeoutError) as error:
            raise _translate_exception(error, operation, repeatable=repeatable) from error
        if not response.is_success:
            raise _translate_status(response, operation, repeatable=repeatable)
        try:
            return reply.model_validate_json(response.content)
        except ValidationError as error:
            raise CarrierUnavailable(
                _NAME, operation, reason="the answer cannot be read", retryable=repeatable
            ) from error


def new_client(account: CarrierAccount, http: httpx.AsyncClient) -> CarrierClient:
    """Make the ``TwilioClient`` of an account."""
    return TwilioClient(TwilioAccount.require(account), http)


def _translate_exception(error: Exception, operation: str, *, repeatable: bool) -> CarrierError:
    match error:
        # Nothing has left for Twilio yet, so that even a dial may be repeated.
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
    if status == _HTTP_TOO_MANY_REQUESTS:
        return CarrierBusy(_NAME, operation, reason="too many requests")
    if response.is_server_error:
        return CarrierUnavailable(_NAME, operation, reason=f"HTTP {status}", retryable=repeatable)
    try:
        code = _Error.model_validate_json(response.content).code
    except ValidationError:
        code = None
    carrier_code = "" if code is None else str(code)
    reason = _REASONS.get(carrier_code, "the request is refused")
    reference = f"Twilio error {carrier_code}" if carrier_code else f"HTTP {status}"
    return CarrierRejected(
        _NAME, operation, status=status, carrier_code=carrier_code, reason=f"{reason} ({reference})"
    )


def _dial_form(order: DialOrder) -> _Form:
    form: dict[str, str | list[str]] = {"To": order.to_number, "From": order.from_number}
    markup = order.answer.body.decode()
    if len(markup) <= INLINE_MARKUP_CHARS:
        form["Twiml"] = markup
    else:
        form |= {"Url": order.answer_url, "Method": "POST"}
    form |= {
        "StatusCallback": order.status_url,
        "StatusCallbackMethod": "POST",
        "StatusCallbackEvent": ["initiated", "ringing", "answered", "completed"],
        "Timeout": str(order.ring_timeout_s),
    }
    if order.max_duration_s is not None:
        form["TimeLimit"] = str(order.max_duration_s)
    if order.amd is not None:
        # Asynchronous, else the answer's markup waits for the verdict and the callee hears seconds
        # of silence.
        form |= {
            "MachineDetection": _MACHINE_DETECTION[order.amd],
            "AsyncAmd": "true",
            "AsyncAmdStatusCallback": order.status_url,
            "AsyncAmdStatusCallbackMethod": "POST",
        }
    return form


def _call_path(carrier_call_id: str) -> str:
    return f"/Calls/{quote(carrier_call_id, safe='')}.json"


def _carrier_call(call: _Call) -> CarrierCall:
    outbound = (call.direction or "").startswith("outbound")
    word = call.answered_by
    return CarrierCall(
        carrier_call_id=call.sid,
        event=CALL_EVENTS.get(call.status, CallEvent.UNKNOWN),
        carrier_word=call.status,
        direction=Direction.OUTBOUND if outbound else Direction.INBOUND,
        from_number=call.from_ or "anonymous",
        to_number=call.to or "",
        duration_s=int(call.duration) if call.duration and call.duration.isdecimal() else None,
        answered_by=None if not word else AMD_VERDICTS.get(word, AmdVerdict.UNKNOWN),
        raw=call.fields(),
    )
