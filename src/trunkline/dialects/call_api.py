"""The REST API of ``/Call/`` with ``legs`` and ``aleg_url``, as two carriers have it.

Requests and answers are JSON, and every path ends with a slash. Neither carrier has an idempotency
key: a dial that got no answer may have dialled, so dials and redirects are sent once; reading and
hanging up may be repeated without harm, and are. The one dialect that is not pure: it sends on the
``httpx.AsyncClient`` that it is given.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import TypeVar
from urllib.parse import quote

import httpx
import stamina
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from trunkline.dialects.call_form import CALL_EVENTS, to_e164
from trunkline.errors import (
    CarrierBusy,
    CarrierError,
    CarrierRejected,
    CarrierTimeout,
    CarrierUnavailable,
)
from trunkline.telephony.call import CallEvent, Direction
from trunkline.telephony.carrier import CarrierCall, DialOrder, PlacedCall

__all__ = ["CallApi", "CallApiRules", "Reply"]

_TIMEOUT = httpx.Timeout(10.0, connect=5.0)
_RETRYING = stamina.AsyncRetryingCaller(attempts=4, timeout=30.0, wait_max=4.0)

_MOST_OPEN_CALLS = 100
"""Each costs a request, and a carrier allows 300 in five seconds."""

# The carriers' own sentences name phone numbers, so they are not passed on.
_REASONS: Mapping[int, str] = {
    HTTPStatus.UNAUTHORIZED: "the credentials are refused",
    HTTPStatus.PAYMENT_REQUIRED: "the account has no credit",
    HTTPStatus.FORBIDDEN: "the account may not do that",
    HTTPStatus.NOT_FOUND: "there is no such resource",
}

# hangup_cause_code of calls that were never answered.
_UNANSWERED: Mapping[str, CallEvent] = {
    "1000": CallEvent.CANCELED,
    "3000": CallEvent.NO_ANSWER,
    "3010": CallEvent.BUSY,
    "6010": CallEvent.NO_ANSWER,
}


class Reply(BaseModel):
    """An answer of the API. Fields that are not declared are kept."""

    # Replies hold phone numbers, and a validation error would print them.
    model_config = ConfigDict(extra="allow", hide_input_in_errors=True, coerce_numbers_to_str=True)

    def fields(self) -> Mapping[str, object]:
        """Return all of it, under the carrier's names."""
        return self.model_dump(by_alias=True)


class _Dialled(Reply):
    request_uuid: str | list[str] = Field(min_length=1)


class _LiveCall(Reply):
    call_uuid: str = Field(min_length=1)
    call_status: str
    direction: str = ""
    from_: str = Field(default="", alias="from")
    to: str = ""


class _CallIds(Reply):
    calls: list[str] = []


class _PastCall(Reply):
    """A call detail record, written after the end."""

    call_uuid: str = Field(min_length=1)
    call_direction: str = ""
    from_number: str = ""
    to_number: str = ""
    call_duration: int | None = None
    answer_time: str | None = None
    hangup_cause_code: str | None = None


_R = TypeVar("_R", bound=Reply)
Query = Mapping[str, str]
Body = Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class CallApiRules:
    """Where the carriers that have this API differ."""

    carrier: str
    """Name, for errors."""
    dialled: Callable[[str], str]
    """Writes an E.164 number as the API wants it."""
    number: Callable[[str], str] = to_e164
    """Writes the API's numbers as E.164."""
    cancels_requests: bool
    """A dial that has not been answered is ended under ``/Request/``."""


class CallApi:
    """Calls of one account. It uses ``http`` and does not close it.

    Args:
        rules: The carrier's peculiarities.
        http: Shared by all clients of the process.
        root: URL of the account's resources, without a slash at the end.
        auth: HTTP Basic, where the carrier takes that.
        headers: Credentials, where the carrier wants them in headers.
        request_timeout_s: Seconds for one whole request: httpx bounds each read, not a peer that
            answers a byte at a time.
    """

    def __init__(
        self,
        rules: CallApiRules,
        http: httpx.AsyncClient,
        *,
        root: str,
        auth: httpx.Auth | None = None,
        headers: Mapping[str, str] | None = None,
        request_timeout_s: float = 15.0,
    ) -> None:
        self._rules = rules
        self._http = http
        self._root = root
        self._auth = auth
        self._headers = dict(headers or {})
        self._request_timeout_s = request_timeout_s

    async def place_call(self, order: DialOrder) -> PlacedCall:
        """Create the call; dials above the account's rate may wait at the carrier."""
        content = await self._send("place call", "POST", "/Call/", body=self._dial(order))
        dialled = self.read("place call", _Dialled, content)
        ids = dialled.request_uuid
        return PlacedCall(
            carrier_call_id=ids if isinstance(ids, str) else ids[0],
            event=CallEvent.INITIATED,
            raw=dialled.fields(),
        )

    async def hang_up(self, carrier_call_id: str) -> None:
        """End the call, in whatever state it is; one that is over counts as success."""
        path = f"/{quote(carrier_call_id, safe='')}/"
        found = await self._delete("/Call" + path)
        if not found and self._rules.cancels_requests:
            await self._delete("/Request" + path)

    async def fetch_call(self, carrier_call_id: str) -> CarrierCall | None:
        """Read the call: live, else queued, else its record; None when there is none of it.

        A record may be missing for some seconds after the end.
        """
        path = _call_path(carrier_call_id)
        for status in ("live", "queued"):
            live = await self._read_if_any("fetch call", path, _LiveCall, {"status": status})
            if live is not None:
                return self._live_call(live)
        past = await self._read_if_any("fetch call", path, _PastCall)
        return None if past is None else self._past_call(past)

    async def fetch_open_calls(self) -> Sequence[CarrierCall]:
        """Queued and live calls of the account, ours or not, at most 100 of them.

        Queued first, so that a call that moves on between two requests is seen at least once.
        """
        ids: dict[str, None] = {}
        for status in ("queued", "live"):
            content = await self.repeat("fetch open calls", "/Call/", {"status": status})
            ids |= dict.fromkeys(self.read("fetch open calls", _CallIds, content).calls)
        found: list[CarrierCall] = []
        for carrier_call_id in list(ids)[:_MOST_OPEN_CALLS]:
            call = await self.fetch_call(carrier_call_id)
            if call is not None:
                found.append(call)
        return found

    async def redirect(self, carrier_call_id: str, url: str) -> None:
        """Replace the running markup, which ends the call's media stream at once.

        Sent once: a repetition after a lost answer would end the stream that the first one has led
        to.
        """
        body = {"legs": "aleg", "aleg_url": url, "aleg_method": "POST"}
        await self._send("redirect", "POST", _call_path(carrier_call_id), body=body)

    async def send_dtmf(self, carrier_call_id: str, digits: str) -> None:
        """Press keys on the call; ``w`` waits half a second. Sent once, lest keys be doubled."""
        body = {"digits": digits, "leg": "aleg"}
        await self._send("send dtmf", "POST", _call_path(carrier_call_id) + "DTMF/", body=body)

    async def repeat(self, operation: str, path: str, query: Query | None = None) -> bytes:
        """GET, again and again while the carrier does not answer."""
        return await _RETRYING(
            (CarrierTimeout, CarrierUnavailable, CarrierBusy),
            self._send,
            operation,
            "GET",
            path,
            query=query,
            repeatable=True,
        )

    def read(self, operation: str, reply: type[_R], content: bytes) -> _R:
        """Read an answer's body.

        Raises:
            CarrierUnavailable: It is not what it should be.
        """
        try:
            return reply.model_validate_json(content)
        except ValidationError as error:
            raise CarrierUnavailable(
                self._rules.carrier,
                operation,
                reason="the answer cannot be read",
                retryable=reply is not _Dialled,
            ) from error

    async def _read_if_any(
        self, operation: str, path: str, reply: type[_R], query: Query | None = None
    ) -> _R | None:
        try:
            content = await self.repeat(operation, path, query)
        except CarrierRejected as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            raise
        return self.read(operation, reply, content)

    async def _delete(self, path: str) -> bool:
        """Delete, again and again; False when there was nothing to delete."""
        try:
            await _RETRYING(
                (CarrierTimeout, CarrierUnavailable, CarrierBusy),
                self._send,
                "hang up",
                "DELETE",
                path,
                repeatable=True,
            )
        except CarrierRejected as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            return False
        return True

    async def _send(
        self,
        operation: str,
        method: str,
        path: str,
        *,
        body: Body | None = None,
        query: Query | None = None,
        repeatable: bool = False,
    ) -> bytes:
        try:
            async with asyncio.timeout(self._request_timeout_s):
                response = await self._http.request(
                    method,
                    self._root + path,
                    json=body,
                    params=query,
                    headers=self._headers,
                    auth=self._auth,
                    timeout=_TIMEOUT,
                    follow_redirects=False,
                )
        except (httpx.RequestError, TimeoutError) as error:
            raise self._translate(error, operation, repeatable=repeatable) from error
        if not response.is_success:
            raise self._refusal(response.status_code, operation, repeatable=repeatable)
        return response.content

    def _translate(self, error: Exception, operation: str, *, repeatable: bool) -> CarrierError:
        name = self._rules.carrier
        match error:
            # Nothing has left for the carrier yet, so that even a dial may be repeated.
            case httpx.ConnectError() | httpx.ConnectTimeout() | httpx.PoolTimeout():
                return CarrierUnavailable(name, operation, reason="no connection", retryable=True)
            case httpx.TimeoutException() | TimeoutError():
                return CarrierTimeout(name, operation, reason="no answer in time")
            case _:
                return CarrierUnavailable(
                    name, operation, reason="the connection was lost", retryable=repeatable
                )

    def _refusal(self, status: int, operation: str, *, repeatable: bool) -> CarrierError:
        name = self._rules.carrier
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            return CarrierBusy(name, operation, reason="too many requests")
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            reason = f"HTTP {status}"
            return CarrierUnavailable(name, operation, reason=reason, retryable=repeatable)
        reason = f"{_REASONS.get(status, 'the request is refused')} (HTTP {status})"
        return CarrierRejected(name, operation, status=status, carrier_code="", reason=reason)

    def _dial(self, order: DialOrder) -> Body:
        body: dict[str, object] = {
            "from": self._rules.dialled(order.from_number),
            "to": self._rules.dialled(order.to_number),
            "answer_url": order.answer_url,
            "answer_method": "POST",
            "ring_url": order.status_url,
            "ring_method": "POST",
            "hangup_url": order.status_url,
            "hangup_method": "POST",
            "ring_timeout": order.ring_timeout_s,
        }
        if order.max_duration_s is not None:
            body["time_limit"] = order.max_duration_s
        if order.amd is not None:
            # Asynchronous; there is no report of the greeting's end, so both modes are this one.
            body |= {
                "machine_detection": "true",
                "machine_detection_url": order.status_url,
                "machine_detection_method": "POST",
            }
        return body

    def _live_call(self, call: _LiveCall) -> CarrierCall:
        return CarrierCall(
            carrier_call_id=call.call_uuid,
            event=CALL_EVENTS.get(call.call_status, CallEvent.UNKNOWN),
            carrier_word=call.call_status,
            direction=_direction(call.direction),
            from_number=self._rules.number(call.from_) or "anonymous",
            to_number=self._rules.number(call.to),
            raw=call.fields(),
        )

    def _past_call(self, call: _PastCall) -> CarrierCall:
        code = call.hangup_cause_code or ""
        unanswered = _UNANSWERED.get(code, CallEvent.FAILED)
        return CarrierCall(
            carrier_call_id=call.call_uuid,
            event=CallEvent.COMPLETED if call.answer_time else unanswered,
            carrier_word=code,
            direction=_direction(call.call_direction),
            from_number=self._rules.number(call.from_number) or "anonymous",
            to_number=self._rules.number(call.to_number),
            duration_s=call.call_duration,
            raw=call.fields(),
        )


def _call_path(carrier_call_id: str) -> str:
    return f"/Call/{quote(carrier_call_id, safe='')}/"


def _direction(word: str) -> Direction:
    return Direction.OUTBOUND if word.startswith("outbound") else Direction.INBOUND
