"""Telnyx's REST API v2 (https://developers.telnyx.com/api): TeXML, and Call Control's commands.

Requests and answers are JSON. A call has one id in both, so commands of Call Control also reach
calls that TeXML runs. Dials, transfers and redirects are sent once: one that got no answer may have
been carried out. Reading, hanging up and answering may be repeated; a command carries an id by
which Telnyx knows its repetitions for 60 s.
"""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from base64 import b64encode
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TypeVar
from urllib.parse import quote

import httpx
import orjson
import stamina
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from trunkline.carriers.telnyx.account import TelnyxAccount
from trunkline.carriers.telnyx.webhook import AMD_VERDICTS, CALL_EVENTS
from trunkline.carriers.telnyx.wire import MEDIA_FORMATS, MEDIA_PARAMETER, Media
from trunkline.errors import (
    CarrierBusy,
    CarrierError,
    CarrierRejected,
    CarrierTimeout,
    CarrierUnavailable,
    UnsupportedByCarrier,
)
from trunkline.telephony.call import CallEvent, Direction
from trunkline.telephony.carrier import (
    AmdMode,
    CallControl,
    CarrierAccount,
    CarrierCall,
    CarrierClient,
    CarrierNumber,
    DialOrder,
    PlacedCall,
    StreamConnect,
)
from trunkline.telephony.webhook import AmdVerdict

__all__ = ["TelnyxCallControl", "TelnyxClient", "new_call_control", "new_client"]

_NAME = "telnyx"
_TIMEOUT = httpx.Timeout(10.0, connect=5.0)

_RETRYING = stamina.AsyncRetryingCaller(attempts=4, timeout=30.0, wait_max=4.0)

_PAGE_SIZE = 100

_PLAIN = ":"
"""Written as it is in a path: call ids begin with ``v3:``."""

_TEXML_DETECTION = {AmdMode.DETECT: "Enable", AmdMode.MESSAGE_END: "DetectMessageEnd"}
_DETECTION = {AmdMode.DETECT: "detect", AmdMode.MESSAGE_END: "greeting_end"}

_HTTP_NOT_FOUND, _HTTP_TOO_MANY_REQUESTS = 404, 429
_NO_SUCH_CALL, _CALL_ENDED = "90015", "90018"

# Telnyx's own sentences may name phone numbers, so they are not passed on
# (https://developers.telnyx.com/api/errors).
_REASONS = {
    "10009": "the credentials are refused",
    "10016": "the number to call is not valid",
    "10038": "the account may not do that at its level",
    "20002": "the credentials are revoked",
    "20008": "the credentials are refused",
    "20012": "the account is inactive",
    "20013": "the account is blocked",
    "20014": "the account is not verified",
    "20100": "the account has no credit",
    _NO_SUCH_CALL: "there is no such call",
    _CALL_ENDED: "the call has ended",
    "90034": "the call has not been answered",
    "90041": "too many calls at once for this account",
    "90042": "too many calls at once for this outbound profile",
    "90043": "too many calls at once for this application",
    "90045": "the call has a media stream already",
}


class _Reply(BaseModel):
    # Replies hold phone numbers, and a validation error would print them.
    model_config = ConfigDict(extra="allow", hide_input_in_errors=True)

    def fields(self) -> Mapping[str, object]:
        return self.model_dump(by_alias=True)


class _TexmlDial(_Reply):
    call_sid: str = Field(min_length=1, validation_alias=AliasChoices("call_sid", "sid"))
    status: str = "queued"


class _TexmlCall(_Reply):
    sid: str = Field(min_length=1)
    status: str
    direction: str | None = None
    from_: str | None = Field(default=None, alias="from")
    to: str | None = None
    duration: str | None = None
    answered_by: str | None = None


class _TexmlCalls(_Reply):
    calls: list[_TexmlCall]


class _Leg(_Reply):
    call_control_id: str = Field(min_length=1)
    is_alive: bool = True
    start_time: datetime | None = None
    call_duration: int | None = None


class _Dialled(_Reply):
    data: _Leg


class _Legs(_Reply):
    data: list[_Leg]


class _Number(_Reply):
    id: str
    phone_number: str
    connection_id: str | None = None


class _Numbers(_Reply):
    data: list[_Number]


class _Application(_Reply):
    voice_url: str | None = None
    voice_method: str | None = None
    webhook_event_url: str | None = None


class _Applied(_Reply):
    data: _Application


class _ErrorEntry(_Reply):
    code: str | int | None = None


class _Errors(_Reply):
    errors: list[_ErrorEntry]


_R = TypeVar("_R", bound=_Reply)
_Json = Mapping[str, object]


class _Api:
    """Sends requests; the one place that turns statuses and exceptions into ours."""

    __slots__ = ("_headers", "_http", "_request_timeout_s", "_root")

    def __init__(
        self, account: TelnyxAccount, http: httpx.AsyncClient, request_timeout_s: float
    ) -> None:
        self._headers = {"Authorization": f"Bearer {account.bearer}"}
        self._root = f"{account.rest_base_url}/v2"
        self._http = http
        self._request_timeout_s = request_timeout_s

    async def repeat(
        self,
        operation: str,
        method: str,
        path: str,
        reply: type[_R],
        *,
        json: _Json | None = None,
        query: Mapping[str, str] | None = None,
    ) -> _R:
        """``send`` what may be carried out twice, again and again while Telnyx does not answer."""
        return await _RETRYING(
            (CarrierTimeout, CarrierUnavailable, CarrierBusy),
            self.send,
            operation,
            method,
            path,
            reply,
            json=json,
            query=query,
            repeatable=True,
        )

    async def send(
        self,
        operation: str,
        method: str,
        path: str,
        reply: type[_R],
        *,
        json: _Json | None = None,
        query: Mapping[str, str] | None = None,
        repeatable: bool = False,
    ) -> _R:
        """Send one request and read its answer.

        Raises:
            CarrierError: As the subclasses say.
        """
        try:
            async with asyncio.timeout(self._request_timeout_s):
                response = await self._http.request(
                    method,
                    self._root + path,
                    json=json,
                    params=query,
                    headers=self._headers,
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


class TelnyxClient:
    """The ``CarrierClient`` of Telnyx. It uses ``http`` and does not close it.

    Args:
        account: Whose calls.
        http: Shared by all clients of the process.
        request_timeout_s: Seconds for one whole request: httpx bounds each read, not a peer that
            answers a byte at a time.

    Raises:
        ConfigError: The account lacks the API key; names what to set.
    """

    __slots__ = ("_account", "_api", "_texml")

    def __init__(
        self, account: TelnyxAccount, http: httpx.AsyncClient, *, request_timeout_s: float = 15.0
    ) -> None:
        self._account = account
        self._api = _Api(account, http, request_timeout_s)
        sid = account.account_sid
        self._texml = None if sid is None else f"/texml/Accounts/{sid}/Calls"

    async def place_call(self, order: DialOrder) -> PlacedCall:
        """Dial by the TeXML application, or by the Call Control application without one."""
        if self._texml is not None:
            json = _texml_dial(order, self._account)
            dialled = await self._api.send("place call", "POST", self._texml, _TexmlDial, json=json)
            return PlacedCall(
                carrier_call_id=dialled.call_sid,
                event=CALL_EVENTS.get(dialled.status, CallEvent.UNKNOWN),
                raw=dialled.fields(),
            )
        json = _dial(order, self._account)
        leg = (await self._api.send("place call", "POST", "/calls", _Dialled, json=json)).data
        return PlacedCall(
            carrier_call_id=leg.call_control_id, event=CallEvent.INITIATED, raw=leg.fields()
        )

    async def hang_up(self, carrier_call_id: str) -> None:
        """End the call, whichever way it was made or answered."""
        path = _action(carrier_call_id, "hangup")
        try:
            await self._api.repeat("hang up", "POST", path, _Reply, json=_command({}))
        except CarrierRejected as error:
            if not _is_gone(error):
                raise

    async def fetch_call(self, carrier_call_id: str) -> CarrierCall | None:
        """Read the call; None when Telnyx has none of that id.

        TeXML knows numbers and status; of other calls Telnyx tells only whether they are alive.
        """
        call_id = quote(carrier_call_id, safe=_PLAIN)
        try:
            if self._texml is not None:
                path = f"{self._texml}/{call_id}"
                return _texml_call(await self._api.repeat("fetch call", "GET", path, _TexmlCall))
        except CarrierRejected as error:
            if error.status != _HTTP_NOT_FOUND:
                raise
        try:
            leg = await self._api.repeat("fetch call", "GET", f"/calls/{call_id}", _Dialled)
        except CarrierRejected as error:
            if _is_gone(error):
                return None
            raise
        return _leg_call(leg.data)

    async def fetch_open_calls(self) -> Sequence[CarrierCall]:
        """Calls that are not over, at most 100: with TeXML the account's, else the application's.

        TeXML's list cannot be asked for live calls alone, so it is the newest ones of all.
        """
        if self._texml is not None:
            query = {"PageSize": str(_PAGE_SIZE)}
            page = await self._api.repeat(
                "fetch open calls", "GET", self._texml, _TexmlCalls, query=query
            )
            live = (CallEvent.INITIATED, CallEvent.RINGING, CallEvent.ANSWERED)
            return [call for call in map(_texml_call, page.calls) if call.event in live]
        path = f"/connections/{self._account.connection_id}/active_calls"
        query = {"page[size]": str(_PAGE_SIZE)}
        legs = await self._api.repeat("fetch open calls", "GET", path, _Legs, query=query)
        return [_leg_call(leg) for leg in legs.data]

    async def redirect(self, carrier_call_id: str, url: str) -> None:
        """Replace the running TeXML, which ends the call's media stream.

        Sent once: a repetition after a lost answer would end the stream that the first one has led
        to.

        Raises:
            UnsupportedByCarrier: Call Control runs no markup; ``TelnyxCallControl`` commands.
        """
        if self._texml is None:
            raise UnsupportedByCarrier(_NAME, "markup on Call Control applications")
        path = f"{self._texml}/{quote(carrier_call_id, safe=_PLAIN)}"
        json = {"Url": url, "Method": "POST"}
        await self._api.send("redirect", "POST", path, _Reply, json=json)

    async def fetch_number(self, number: str) -> CarrierNumber | None:
        """Read how a number of the account is set up; None when it has no such number."""
        query = {"filter[phone_number]": number}
        page = await self._api.repeat(
            "fetch number", "GET", "/phone_numbers", _Numbers, query=query
        )
        # Telnyx's filter also takes parts of numbers.
        found = next((entry for entry in page.data if entry.phone_number == number), None)
        if found is None:
            return None
        application = await self._application(found.connection_id)
        return CarrierNumber(
            number=number,
            number_id=found.id,
            voice_url=application.voice_url or application.webhook_event_url or None,
            voice_method=(application.voice_method or "").upper() or None,
            raw=found.fields(),
        )

    async def _application(self, connection_id: str | None) -> _Application:
        """The application that a number is attached to; an empty one when it is to none."""
        for kind in ("texml_applications", "call_control_applications"):
            if not connection_id:
                break
            path = f"/{kind}/{quote(connection_id, safe='')}"
            try:
                return (await self._api.repeat("fetch number", "GET", path, _Applied)).data
            except CarrierRejected as error:
                if error.status != _HTTP_NOT_FOUND:
                    raise
        return _Application()

    async def check_credentials(self) -> None:
        """List one number."""
        query = {"page[size]": "1"}
        await self._api.repeat("check credentials", "GET", "/phone_numbers", _Numbers, query=query)


class TelnyxCallControl:
    """The ``CallControl`` of Telnyx: commands for calls that no TeXML answers.

    Made as ``TelnyxClient`` is.
    """

    __slots__ = ("_api", "_media")

    def __init__(
        self, account: TelnyxAccount, http: httpx.AsyncClient, *, request_timeout_s: float = 15.0
    ) -> None:
        self._api = _Api(account, http, request_timeout_s)
        self._media = account.media

    async def answer(self, carrier_call_id: str, stream: StreamConnect, *, events_url: str) -> None:
        """Answer, with the stream in the same command."""
        json = {
            **_stream(stream, self._media),
            "webhook_url": events_url,
            "webhook_url_method": "POST",
            "send_silence_when_idle": True,
        }
        await self._command("answer", carrier_call_id, "answer", json)

    async def start_stream(self, carrier_call_id: str, stream: StreamConnect) -> None:
        """Start a stream on an answered call; it must have none (90045)."""
        await self._command(
            "start stream", carrier_call_id, "streaming_start", _stream(stream, self._media)
        )

    async def reject(self, carrier_call_id: str) -> None:
        """Refuse; a caller who has hung up already is refused enough."""
        try:
            await self._command("reject", carrier_call_id, "reject", {"cause": "USER_BUSY"})
        except CarrierRejected as error:
            if not _is_gone(error):
                raise

    async def forward(
        self, carrier_call_id: str, to_number: str, *, caller_id: str | None = None
    ) -> None:
        """Transfer to a number or a ``sip:`` address; without ``caller_id`` from our number."""
        json = {"to": to_number} | ({} if caller_id is None else {"from": caller_id})
        path = _action(carrier_call_id, "transfer")
        await self._api.send("transfer", "POST", path, _Reply, json=_command(json))

    async def send_dtmf(self, carrier_call_id: str, digits: str) -> None:
        """Press keys: ``0-9A-D*#``, and ``w`` for half a second of waiting."""
        await self._command("send digits", carrier_call_id, "send_dtmf", {"digits": digits})

    async def _command(self, operation: str, call_id: str, action: str, json: _Json) -> None:
        """Send a command as often as need be; Telnyx carries it out once."""
        path = _action(call_id, action)
        await self._api.repeat(operation, "POST", path, _Reply, json=_command(json))


def new_client(account: CarrierAccount, http: httpx.AsyncClient) -> CarrierClient:
    """Make the ``TelnyxClient`` of an account."""
    return TelnyxClient(TelnyxAccount.require(account), http)


def new_call_control(account: CarrierAccount, http: httpx.AsyncClient) -> CallControl:
    """Make the ``TelnyxCallControl`` of an account."""
    return TelnyxCallControl(TelnyxAccount.require(account), http)


def _action(carrier_call_id: str, name: str) -> str:
    return f"/calls/{quote(carrier_call_id, safe=_PLAIN)}/actions/{name}"


def _command(json: _Json) -> _Json:
    return {**json, "command_id": str(uuid.uuid4())}


def _stream(stream: StreamConnect, media: Media) -> dict[str, object]:
    """The media stream's fields of a dial, an answer or a ``streaming_start``.

    The first two take no custom parameters, so what a stream is to know travels in the client
    state, which its start repeats.
    """
    encoding = MEDIA_FORMATS[media].encoding.value
    state = dict(stream.parameters)
    if media is not Media.PCMU:
        state[MEDIA_PARAMETER] = media.value
    fields: dict[str, object] = {
        "stream_url": stream.stream_url,
        "stream_track": "inbound_track",
        "stream_codec": encoding,
        # Unasked it is mp3, and the bot is silent without an error.
        "stream_bidirectional_mode": "rtp",
        "stream_bidirectional_codec": encoding,
        # Unasked it is the opposite leg, which a bot's call does not have.
        "stream_bidirectional_target_legs": "self",
        "client_state": b64encode(orjson.dumps(state)).decode(),
    }
    if media in (Media.L16_BIG, Media.L16_LITTLE):
        fields["stream_bidirectional_sampling_rate"] = MEDIA_FORMATS[media].sample_rate_hz
    return fields


def _dial(order: DialOrder, account: TelnyxAccount) -> _Json:
    json: dict[str, object] = {
        "connection_id": account.connection_id,
        "to": order.to_number,
        "from": order.from_number,
        **_stream(order.stream, account.media),
        "webhook_url": order.status_url,
        "webhook_url_method": "POST",
        "timeout_secs": order.ring_timeout_s,
        "send_silence_when_idle": True,
        # The same for the same call of ours: should anybody ever repeat it, Telnyx dials once.
        "command_id": _id_of(order.call_id),
    }
    if order.max_duration_s is not None:
        json["time_limit_secs"] = order.max_duration_s
    if order.amd is not None:
        json["answering_machine_detection"] = _DETECTION[order.amd]
    return json


def _id_of(call_id: str) -> str:
    """A UUID in the form of a random one, which is what Telnyx asks for."""
    return str(uuid.UUID(bytes=hashlib.sha256(call_id.encode()).digest()[:16], version=4))


def _texml_dial(order: DialOrder, account: TelnyxAccount) -> _Json:
    json: dict[str, object] = {
        "ApplicationSid": account.connection_id,
        "To": order.to_number,
        "From": order.from_number,
        # Not inline: how long ``Texml`` may be is not documented.
        "Url": order.answer_url,
        "UrlMethod": "POST",
        "StatusCallback": order.status_url,
        "StatusCallbackMethod": "POST",
        "StatusCallbackEvent": "initiated ringing answered completed",
        "Timeout": order.ring_timeout_s,
    }
    if order.max_duration_s is not None:
        json["TimeLimit"] = order.max_duration_s
    if order.amd is not None:
        # Asynchronous, else the answer's markup waits for the verdict and the callee hears seconds
        # of silence.
        json |= {
            "MachineDetection": _TEXML_DETECTION[order.amd],
            "AsyncAmd": True,
            "AsyncAmdStatusCallback": order.status_url,
            "AsyncAmdStatusCallbackMethod": "POST",
        }
    return json


def _texml_call(call: _TexmlCall) -> CarrierCall:
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


def _leg_call(leg: _Leg) -> CarrierCall:
    """What Telnyx tells of a leg: neither numbers, nor direction, nor why it is over."""
    if not leg.is_alive:
        event, word = CallEvent.COMPLETED, "ended"
    elif leg.start_time is None and not leg.call_duration:
        event, word = CallEvent.RINGING, "alive"
    else:
        event, word = CallEvent.ANSWERED, "alive"
    return CarrierCall(
        carrier_call_id=leg.call_control_id,
        event=event,
        carrier_word=word,
        direction=Direction.INBOUND,
        from_number="",
        to_number="",
        duration_s=leg.call_duration,
        raw=leg.fields(),
    )


def _is_gone(error: CarrierRejected) -> bool:
    return error.status == _HTTP_NOT_FOUND or error.carrier_code in (_NO_SUCH_CALL, _CALL_ENDED)


def _translate_exception(error: Exception, operation: str, *, repeatable: bool) -> CarrierError:
    match error:
        # Nothing has left for Telnyx yet, so that even a dial may be repeated.
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
        entries = _Errors.model_validate_json(response.content).errors
    except ValidationError:
        entries = []
    code = next((str(entry.code) for entry in entries if entry.code is not None), "")
    reason = _REASONS.get(code, "the request is refused")
    reference = f"Telnyx error {code}" if code else f"HTTP {status}"
    return CarrierRejected(
        _NAME, operation, status=status, carrier_code=code, reason=f"{reason} ({reference})"
    )
