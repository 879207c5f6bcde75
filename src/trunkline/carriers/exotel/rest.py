"""Exotel's REST API, v1 (https://developer.exotel.com/api/make-a-call-api).

Requests are forms, answers JSON. There is no idempotency key: a dial that got no answer may have
dialled, so it is sent once. There is no hang-up, no redirect and no list of live calls either.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import TypeVar
from urllib.parse import quote

import httpx
import stamina
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from trunkline.carriers.exotel.account import NUMBER_REGION, ExotelAccount
from trunkline.carriers.exotel.markup import name_sample_rate
from trunkline.carriers.exotel.webhook import CALL_EVENTS, sign_status_url
from trunkline.errors import (
    CarrierBusy,
    CarrierError,
    CarrierRejected,
    CarrierTimeout,
    CarrierUnavailable,
    UnsupportedByCarrier,
)
from trunkline.telephony.call import FINAL_STATES, CallEvent, CallState, Direction, advance
from trunkline.telephony.carrier import (
    CarrierAccount,
    CarrierCall,
    CarrierClient,
    CarrierNumber,
    DialOrder,
    PlacedCall,
)
from trunkline.telephony.numbers import to_e164

__all__ = ["LONGEST_CALL_S", "ExotelClient", "new_client"]

LONGEST_CALL_S = 60 * 60
"""Longest media session."""

_NAME = "exotel"
_LONGEST_TIME_LIMIT_S = 14_400
_TIMEOUT = httpx.Timeout(10.0, connect=5.0)
_RETRYING = stamina.AsyncRetryingCaller(attempts=4, timeout=30.0, wait_max=4.0)

_FLOW_URL = "http://my.exotel.com/{account_sid}/exoml/start_voice/{flow_id}"
"""Names the flow; nothing is sent there. Exotel's pages write it with http."""

_HOME_PREFIX, _HOME_DIGITS = "+91", 10

# Exotel's own sentences name phone numbers, so they are not passed on. Its codes are not
# documented.
_REASONS: Mapping[int, str] = {
    HTTPStatus.BAD_REQUEST: "a parameter is missing or wrong",
    HTTPStatus.UNAUTHORIZED: "the credentials are refused, or belong to another region",
    HTTPStatus.FORBIDDEN: "not allowed: a feature that is not enabled, a number that must not be"
    " called, or missing documents",
    HTTPStatus.NOT_FOUND: "there is no such resource, or it is in another region",
}


class _Reply(BaseModel):
    # Replies hold phone numbers, and a validation error would print them.
    model_config = ConfigDict(extra="allow", hide_input_in_errors=True, coerce_numbers_to_str=True)

    def fields(self) -> Mapping[str, object]:
        return self.model_dump(by_alias=True)


class _Call(_Reply):
    sid: str = Field(alias="Sid", min_length=1)
    status: str = Field(default="", alias="Status")
    direction: str | None = Field(default=None, alias="Direction")
    from_: str | None = Field(default=None, alias="From")
    to: str | None = Field(default=None, alias="To")
    phone_number_sid: str | None = Field(default=None, alias="PhoneNumberSid")
    duration: str | None = Field(default=None, alias="Duration")


class _CallReply(_Reply):
    call: _Call = Field(alias="Call")


class _Number(_Reply):
    sid: str = Field(default="", alias="Sid")
    phone_number: str = Field(alias="PhoneNumber", min_length=1)
    voice_url: str | None = Field(default=None, alias="VoiceUrl")


class _NestedNumber(_Reply):
    number: _Number = Field(alias="IncomingPhoneNumber")


class _Numbers(_Reply):
    numbers: list[_NestedNumber | _Number] = Field(alias="IncomingPhoneNumbers")


class _Exception(_Reply):
    code: int | str | None = Field(default=None, alias="Code")


class _Error(_Reply):
    exception: _Exception = Field(alias="RestException")


_R = TypeVar("_R", bound=_Reply)
_Form = Mapping[str, str]


class ExotelClient:
    """The ``CarrierClient`` of Exotel. It uses ``http`` and does not close it.

    Args:
        account: Whose calls.
        http: Shared by all clients of the process.
        request_timeout_s: Seconds for one whole request: httpx bounds each read, not a peer that
            answers a byte at a time.

    Raises:
        ConfigError: The account lacks the credentials; names what to set.
    """

    __slots__ = ("_account", "_auth", "_http", "_request_timeout_s", "_root")

    def __init__(
        self, account: ExotelAccount, http: httpx.AsyncClient, *, request_timeout_s: float = 15.0
    ) -> None:
        self._auth = httpx.BasicAuth(*account.rest_credentials)
        self._account = account
        self._root = f"{account.rest_base_url}/v1/Accounts/{account.account_id}"
        self._http = http
        self._request_timeout_s = request_timeout_s

    async def place_call(self, order: DialOrder) -> PlacedCall:
        """Create the call: by Connect Voice AI, or through the account's flow.

        Raises:
            UnsupportedByCarrier: Answering machines are to be detected.
            CarrierError: Exotel refused, or may have dialled.
        """
        if order.amd is not None:
            raise UnsupportedByCarrier(_NAME, "answering-machine detection")
        form = _dial_form(order, self._account)
        reply = await self._send("place call", "POST", "/Calls/connect.json", _CallReply, form=form)
        # ``Status`` is in-progress already, whoever still has to pick up.
        return PlacedCall(
            carrier_call_id=reply.call.sid, event=CallEvent.INITIATED, raw=reply.call.fields()
        )

    async def hang_up(self, carrier_call_id: str) -> None:
        """Make sure that the call is over; the API cannot end one that is not.

        Its end is the closing of its media socket, and the flow's last applet.

        Raises:
            UnsupportedByCarrier: It is still up.
            CarrierError: Exotel cannot be asked.
        """
        call = await self.fetch_call(carrier_call_id)
        if call is not None and advance(CallState.QUEUED, call.event) not in FINAL_STATES:
            raise UnsupportedByCarrier(_NAME, "hang-up by REST")

    async def fetch_call(self, carrier_call_id: str) -> CarrierCall | None:
        """Read the call; None when Exotel has none of that SID.

        ``in-progress`` may last some time after the end, and length and price are final two minutes
        later.
        """
        path = f"/Calls/{quote(carrier_call_id, safe='')}.json"
        try:
            reply = await self._repeat("fetch call", path, _CallReply)
        except CarrierRejected as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            raise
        return _carrier_call(reply.call)

    async def fetch_open_calls(self) -> Sequence[CarrierCall]:
        """The API lists only calls that are over (call-details-bulk, 2026-10).

        Raises:
            CarrierUnavailable: Always, so that nobody takes a call for ended because it is in no
                list.
        """
        raise CarrierUnavailable(
            _NAME, "fetch open calls", reason="the API does not list calls that are not over"
        )

    async def redirect(self, carrier_call_id: str, url: str) -> None:
        """A flow cannot be changed while it runs.

        Raises:
            UnsupportedByCarrier: Always.
        """
        raise UnsupportedByCarrier(_NAME, "redirecting a live call")

    async def fetch_number(self, number: str) -> CarrierNumber | None:
        """Read how an ExoPhone is set up; None when the account has no such number.

        The API's own filter does not find numbers in E.164, so all are read and compared.
        """
        for found in (await self._numbers("fetch number")).numbers:
            entry = found.number if isinstance(found, _NestedNumber) else found
            if to_e164(entry.phone_number, region=NUMBER_REGION) == number:
                return CarrierNumber(
                    number=number,
                    number_id=entry.sid,
                    voice_url=entry.voice_url or None,
                    raw=entry.fields(),
                )
        return None

    async def check_credentials(self) -> None:
        """List the account's numbers; nothing cheaper is documented."""
        await self._numbers("check credentials")

    async def _numbers(self, operation: str) -> _Numbers:
        return await self._repeat(operation, "/IncomingPhoneNumbers.json", _Numbers)

    async def _repeat(self, operation: str, path: str, reply: type[_R]) -> _R:
        """Read, again and again while Exotel does not answer."""
        return await _RETRYING(
            (CarrierTimeout, CarrierUnavailable, CarrierBusy),
            self._send,
            operation,
            "GET",
            path,
            reply,
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
        repeatable: bool = False,
    ) -> _R:
        try:
            async with asyncio.timeout(self._request_timeout_s):
                response = await self._http.request(
                    method,
                    self._root + path,
                    data=form,
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
    """Make the ``ExotelClient`` of an account."""
    return ExotelClient(ExotelAccount.require(account), http)


def _translate_exception(error: Exception, operation: str, *, repeatable: bool) -> CarrierError:
    match error:
        # Nothing has left for Exotel yet, so that even a dial may be repeated.
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
    try:
        code = _Error.model_validate_json(response.content).exception.code
    except ValidationError:
        code = None
    carrier_code = "" if code is None else str(code)
    reason = _REASONS.get(status, "the request is refused")
    reference = f"HTTP {status}" + (f", Exotel error {carrier_code}" if carrier_code else "")
    return CarrierRejected(
        _NAME, operation, status=status, carrier_code=carrier_code, reason=f"{reason} ({reference})"
    )


def _dial_form(order: DialOrder, account: ExotelAccount) -> _Form:
    # ``From`` is who is called; the ExoPhone is ``CallerId``.
    form = {"From": _dialled(order.to_number), "CallerId": _dialled(order.from_number)}
    if account.flow_id is not None:
        form["Url"] = _FLOW_URL.format(account_sid=account.account_id, flow_id=account.flow_id)
    else:
        url = name_sample_rate(order.stream.stream_url, account.sample_rate_hz)
        form |= {"StreamUrl": url, "StreamType": "bidirectional"}
    form |= {
        "CallType": "trans",
        "StatusCallback": sign_status_url(order.status_url, account),
        "StatusCallbackEvents[0]": "ringing",
        "StatusCallbackEvents[1]": "answered",
        "StatusCallbackEvents[2]": "terminal",
        "StatusCallbackContentType": "application/json",
        "TimeOut": str(order.ring_timeout_s),
        # Comes back in callbacks, and in what a flow asks.
        "CustomField": order.call_id,
    }
    if order.max_duration_s is not None:
        form["TimeLimit"] = str(min(order.max_duration_s, _LONGEST_TIME_LIMIT_S))
    return form


def _dialled(number: str) -> str:
    """How working set-ups write Indian numbers; any other stays E.164."""
    national = number.removeprefix(_HOME_PREFIX)
    if national != number and len(national) == _HOME_DIGITS:
        return "0" + national
    return number


def _carrier_call(call: _Call) -> CarrierCall:
    # ``To`` is the ExoPhone on calls that we placed: ``From`` is always who was called first.
    outbound = (call.direction or "").startswith("outbound")
    from_number = to_e164(call.from_ or "", region=NUMBER_REGION)
    to_number = to_e164(call.to or "", region=NUMBER_REGION)
    if outbound:
        from_number, to_number = to_number, from_number
    return CarrierCall(
        carrier_call_id=call.sid,
        event=CALL_EVENTS.get(call.status, CallEvent.UNKNOWN),
        carrier_word=call.status,
        direction=Direction.OUTBOUND if outbound else Direction.INBOUND,
        from_number=from_number or "anonymous",
        to_number=to_number,
        duration_s=int(call.duration) if call.duration and call.duration.isdecimal() else None,
        raw=call.fields(),
    )
