"""One call as Exotel runs it: the flow's Voicebot applet, or a dial, a media stream, its callbacks.

The call's clock is the line's: a tick each 100 ms, which is one message of caller audio.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ssl
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import unquote, urlsplit

import httpx
import orjson

from trunkline.audio import MediaFormat
from trunkline.simulator.callee import Callee, Outcome
from trunkline.simulator.caller import Caller
from trunkline.simulator.connection import Dialing, MediaConnection, Words
from trunkline.simulator.contract import (
    CallReport,
    HungUpBy,
    Ring,
    StreamReport,
    Violation,
    WebhookReport,
)
from trunkline.simulator.exotel.flow import (
    AppletError,
    check_media_url,
    read_json_answer,
    read_markup,
)
from trunkline.simulator.exotel.stream import (
    FRAME_MS,
    GARBAGE,
    ExotelMedia,
    custom_parameters,
    format_of,
)
from trunkline.simulator.faults import Fault, Faults
from trunkline.simulator.line import Line
from trunkline.simulator.pacing import ticks
from trunkline.simulator.requester import Overrides, Reply, Requester, redirected

__all__ = ["CallEntry", "DialForm", "Phone", "World", "basic", "new_call"]

_WORDS = Words(refused="3009", lost="1006", slow="slow_reader", garbage=GARBAGE)
_MOST_AHEAD_MS = 2_000  # more at once ends calls after some seconds
_CALLBACK_TIMEOUT_S = 10.0
_ANSWER_WITHIN = Overrides(total_timeout_ms=5_000, retries=0)


def basic(user: str, password: str) -> Mapping[str, str]:
    """Return the header that user name and password of a URL become."""
    return {"Authorization": f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"}


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What every call of one simulated account shares."""

    http: httpx.AsyncClient
    account_sid: str
    webhook_credentials: tuple[str, str]
    """What stands in the URLs of the console."""
    via: str | None = None
    tls: ssl.SSLContext | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DialForm:
    """What the server asked for when it created a call."""

    stream_url: str | None
    """None: the media URL comes with the answer to the *answered* callback."""
    status_url: str | None
    status_events: Sequence[str]
    custom_field: str
    timeout_s: float


@dataclass(slots=True, kw_only=True)
class CallEntry:
    """One call as the REST API shows it. It changes as the call goes on."""

    sid: str
    account_sid: str
    direction: str
    first_number: str
    """Of the person: the API calls it ``From`` on dials, too."""
    exophone: str
    status: str = "in-progress"
    duration_s: int = 0
    created_at: datetime

    def to_json(self) -> dict[str, object]:
        """Return the Call resource."""
        return {
            "Sid": self.sid,
            "ParentCallSid": None,
            "DateCreated": f"{self.created_at:%Y-%m-%d %H:%M:%S}",
            "AccountSid": self.account_sid,
            "To": self.exophone,
            "From": self.first_number,
            "PhoneNumberSid": self.exophone,
            "Status": self.status,
            "Duration": str(self.duration_s) if self.status == "completed" else None,
            "Direction": self.direction,
            "AnsweredBy": None,
        }


class Phone:
    """One call. ``run_inbound`` or ``run_outbound`` once, and it is used up.

    Args:
        call: The call's row in Exotel's book; kept up to date.
        world: The account and its means.
        caller: Who holds the telephone; None: silence.
        faults: What shall go wrong.
    """

    def __init__(
        self, *, call: CallEntry, world: World, caller: Caller | None, faults: Faults
    ) -> None:
        self._call = call
        self._world = world
        self._caller = caller
        self._faults = faults
        self._webhooks: list[WebhookReport] = []
        self._streams: list[StreamReport] = []
        self._violations: list[Violation] = []
        self._end: HungUpBy | None = None
        self._over = asyncio.Event()
        self._answered_s: float | None = None
        self._line = self._new_line(format_of(""))

    async def run_inbound(self, ring: Ring) -> CallReport:
        """Run the flow: the Voicebot applet, then Hangup."""
        try:
            if ring.markup is not None:
                url = check_media_url(ring.markup.strip())
            else:
                url = read_json_answer(await self._ask(ring.webhook_url))
        except AppletError as error:
            self._violations.append(error.violation)
            return self._report("failed", HungUpBy.MARKUP)
        return await self._talk(url)

    async def run_outbound(self, form: DialForm, callee: Callee) -> CallReport:
        """Call the person and, if somebody answers, open the media stream."""
        await self._tell(form, "ringing", "in-progress")
        await asyncio.sleep(min(callee.ring_s, form.timeout_s))
        outcome = Outcome.NO_ANSWER if callee.ring_s > form.timeout_s else callee.outcome
        if outcome != Outcome.ANSWER:
            report = self._report(outcome, HungUpBy.CARRIER)
        else:
            report = await self._answer(form)
        await self._tell(form, "terminal", report.status)
        return report

    async def _answer(self, form: DialForm) -> CallReport:
        reply = await self._tell(form, "answered", "in-progress")
        try:
            url = form.stream_url
            if url is None and reply is not None:
                url = read_markup(reply)
            if url is None:
                raise AppletError("no_stream", "nobody says where the media goes")
            url = check_media_url(url)
        except AppletError as error:
            self._violations.append(error.violation)
            return self._report("failed", HungUpBy.CARRIER)
        return await self._talk(url)

    # requests

    async def _ask(self, url: str) -> Reply:
        """Ask the dynamic URL for the media URL, twice at once where that is wanted."""
        user, password = self._world.webhook_credentials
        if self._faults.has(Fault.BAD_SIGNATURE):
            password += "?"
        requester = Requester(
            http=self._world.http,
            sign=lambda method, url, fields: basic(user, password),
            via=self._world.via,
            on_report=self._webhooks.append,
            headers={"User-Agent": "Exotel"},
            defaults=_ANSWER_WITHIN,
        )
        fields = {
            "CallSid": self._call.sid,
            "CallFrom": self._call.first_number,
            "CallTo": self._call.exophone,
            "Direction": "incoming",
            "CallType": "call-attempt",
            "EndTime": "1970-01-01 05:30:00",
            "flow_id": "654321",
            "From": self._call.first_number,
            "To": self._call.exophone,
        }
        asking = requester.request(url, fields, kind="inbound", method="GET")
        if not self._faults.has(Fault.DUPLICATE_WEBHOOK):
            return await asking
        first, second = await asyncio.gather(
            asking, requester.request(url, fields, kind="inbound", method="GET")
        )
        if first.text != second.text:
            detail = "the same request twice got two different answers"
            self._violations.append(Violation(code="not-idempotent", detail=detail))
        return second

    async def _tell(self, form: DialForm, event: str, status: str) -> Reply | None:
        """Send a status callback as JSON; None where it is not wanted."""
        if form.status_url is None or event not in form.status_events:
            return None
        body = {
            "CallSid": self._call.sid,
            "EventType": event,
            "Status": status,
            "From": self._call.first_number,
            "To": self._call.exophone,
            "PhoneNumberSid": self._call.exophone,
            "Direction": self._call.direction,
            "CustomField": form.custom_field,
            "ConversationDuration": self._call.duration_s,
            "Legs": [{"OnCallDuration": self._call.duration_s, "Status": status}],
        }
        reply = await self._post(form.status_url, orjson.dumps(body))
        if self._faults.has(Fault.DUPLICATE_CALLBACKS):
            await self._post(form.status_url, orjson.dumps(body))
        return reply

    async def _post(self, url: str, body: bytes) -> Reply:
        clock = asyncio.get_running_loop().time
        started_s = clock()
        target, host = redirected(url, self._world.via)
        headers = {"Content-Type": "application/json", "Host": host, "User-Agent": "Exotel"}
        reply = Reply(status=None, error="rt")
        with contextlib.suppress(TimeoutError, httpx.HTTPError):
            async with asyncio.timeout(_CALLBACK_TIMEOUT_S):
                response = await self._world.http.post(target, content=body, headers=headers)
            content_type = response.headers.get("content-type", "")
            reply = Reply(
                status=response.status_code, content_type=content_type, text=response.text
            )
        self._webhooks.append(
            WebhookReport(
                kind="status",
                url=url,
                status=reply.status,
                elapsed_ms=round((clock() - started_s) * 1000, 1),
                error=reply.error,
            )
        )
        return reply

    # the answered call

    async def _talk(self, url: str) -> CallReport:
        """Open the stream and let time pass until either side ends the call."""
        self._answered_s = asyncio.get_running_loop().time()
        self._line = self._new_line(format_of(url))
        async with asyncio.TaskGroup() as tasks:
            report, ended_by = await self._stream(url, tasks)
            if report.refused_status is not None and not self._over.is_set():
                report, ended_by = await self._stream(url, tasks)  # one retry
        opened = report.refused_status is None
        return self._report("completed" if opened else "failed", self._end or ended_by)

    async def _stream(self, url: str, tasks: asyncio.TaskGroup) -> tuple[StreamReport, HungUpBy]:
        parts = urlsplit(url)
        headers = {"User-Agent": "Exotel"}
        if parts.username is not None:
            headers |= basic(unquote(parts.username), unquote(parts.password or ""))
        media = ExotelMedia(
            account_id=self._world.account_sid,
            call_id=self._call.sid,
            stream_id=uuid.uuid4().hex,
            url=url,
            from_number=self._call.first_number,
            to_number=self._call.exophone,
        )
        connection = MediaConnection(
            media=media,
            line=self._line,
            dialing=Dialing(
                url=parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl(),
                headers=headers,
                via=self._world.via,
                tls=self._world.tls,
            ),
            words=_WORDS,
            parameters=custom_parameters(url),
            faults=self._faults,
        )
        clock = tasks.create_task(self._keep_time(connection))
        try:
            report = await connection.run(self._over)
        finally:
            clock.cancel()
        self._streams.append(report)
        self._violations += connection.violations
        # Our close gives the call back to the flow, whose next applet is Hangup.
        by = HungUpBy.CARRIER if report.ended_by == "fault" else HungUpBy.MARKUP
        return report, HungUpBy.CARRIER if report.refused_status is not None else by

    async def _keep_time(self, connection: MediaConnection) -> None:
        most_bytes = self._line.media_format.n_bytes(_MOST_AHEAD_MS)
        is_burst = False
        async for _ in ticks(FRAME_MS):
            if self._line.playout.queued_bytes > most_bytes and not is_burst:
                is_burst = True
                detail = "more than 2 s of audio sent ahead"
                connection.violations.append(Violation(code="burst", detail=detail))
            connection.tick(self._line.tick())
            if self._line.has_hung_up:
                self._end = HungUpBy.CALLER
                self._over.set()
                return

    def _new_line(self, media_format: MediaFormat) -> Line:
        return Line(media_format=media_format, frame_ms=FRAME_MS, human=self._caller)

    def _report(self, status: str, hung_up_by: HungUpBy) -> CallReport:
        caller, answered_s = self._caller, self._answered_s
        now_s = asyncio.get_running_loop().time()
        duration_s = 0.0 if answered_s is None else now_s - answered_s
        self._call.status = status
        self._call.duration_s = round(duration_s)
        return CallReport(
            carrier_call_id=self._call.sid,
            status=status,
            hung_up_by=hung_up_by,
            duration_ms=round(duration_s * 1000),
            counts=self._line.counts(),
            streams=tuple(self._streams),
            webhooks=self._webhooks,  # filled on until the last callback has been answered
            violations=tuple(self._violations),
            turns=tuple(caller.turns) if caller is not None else (),
            missed=tuple(caller.missed) if caller is not None else (),
            recording=self._line.recording(),
        )


def new_call(*, account_sid: str, direction: str, first_number: str, exophone: str) -> CallEntry:
    """Return a new row of Exotel's book."""
    return CallEntry(
        sid=uuid.uuid4().hex,
        account_sid=account_sid,
        direction=direction,
        first_number=first_number,
        exophone=exophone,
        created_at=datetime.now(UTC),
    )
