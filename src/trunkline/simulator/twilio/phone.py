"""One call leg as Twilio runs it: rings, fetches TwiML, carries it out verb by verb, and ends.

https://www.twilio.com/docs/voice/twiml. The leg owns the call's clock: a tick each 20 ms.
"""

from __future__ import annotations

import asyncio
import ssl
import uuid
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

import httpx

from trunkline.simulator.callee import Callee, Outcome
from trunkline.simulator.caller import Caller
from trunkline.simulator.contract import (
    CallReport,
    HungUpBy,
    Ring,
    StreamReport,
    Violation,
    WebhookReport,
)
from trunkline.simulator.faults import Fault, Faults
from trunkline.simulator.line import Line
from trunkline.simulator.pacing import ticks
from trunkline.simulator.requester import Reply
from trunkline.simulator.twilio.book import CallEntry
from trunkline.simulator.twilio.callbacks import StatusCallbacks
from trunkline.simulator.twilio.connection import Dialing, MediaConnection
from trunkline.simulator.twilio.requester import Requester
from trunkline.simulator.twilio.stream import MEDIA_FORMAT, TwilioMedia
from trunkline.simulator.twilio.twiml import (
    Connect,
    Dial,
    Hangup,
    PauseVerb,
    Redirect,
    Reject,
    SayVerb,
    TwimlError,
    Verb,
    check_content_type,
    parse_twiml,
)

__all__ = ["DialForm", "Phone", "World", "new_sid"]

_SAY_MS_PER_CHARACTER = 60  # a carrier's voice speaks about 16 characters a second
_OK = 200
_MOST_DOCUMENTS = 30  # a call that is redirected in a circle is ended

_T = TypeVar("_T")


def new_sid(prefix: str) -> str:
    """Return a new identifier: two letters and 32 hexadecimal digits."""
    return prefix + uuid.uuid4().hex


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What every call of one simulated account shares."""

    http: httpx.AsyncClient
    account_sid: str
    auth_token: str
    via: str | None = None
    tls: ssl.SSLContext | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DialForm:
    """What the server asked for when it created a call."""

    url: str | None
    method: str
    twiml: str | None
    status_url: str | None
    status_method: str
    status_events: frozenset[str]
    timeout_s: float
    time_limit_s: float | None
    detects_machine: bool
    async_amd: bool
    amd_url: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Replacement:
    url: str | None
    method: str
    twiml: str | None


class Phone:
    """One leg. ``run_inbound`` or ``run_outbound`` once, and it is used up.

    Args:
        call: The call's row in Twilio's book; kept up to date.
        world: The account and its means.
        caller: Who holds the telephone; None: silence.
        faults: What shall go wrong.
        dialled: Who answers a ``<Dial>``.
    """

    def __init__(
        self,
        *,
        call: CallEntry,
        world: World,
        caller: Caller | None,
        faults: Faults,
        dialled: Callable[[str], Callee],
    ) -> None:
        self._call = call
        self._world = world
        self._caller = caller
        self._faults = faults
        self._dialled = dialled
        self._line = Line(media_format=MEDIA_FORMAT, human=caller)
        self._webhooks: list[WebhookReport] = []
        self._streams: list[StreamReport] = []
        self._violations: list[Violation] = []
        self._spoken: list[str] = []
        self._forwarded: list[str] = []
        self._connection: MediaConnection | None = None
        self._end: HungUpBy | None = None
        self._replacement: _Replacement | None = None
        self._interrupted = asyncio.Event()
        self._answered_s: float | None = None
        self._documents = 0
        wrong = "?" if faults.has(Fault.BAD_SIGNATURE) else ""
        self._requester = Requester(
            http=world.http,
            auth_token=world.auth_token + wrong,
            via=world.via,
            on_report=self._webhooks.append,
        )
        call.leg = self

    # what the REST API does

    def end(self) -> None:
        """Hang up, as ``Status=completed`` does."""
        self._interrupt(HungUpBy.REST)

    def replace(self, *, url: str | None, method: str, twiml: str | None) -> None:
        """Go on with another document; the running stream ends."""
        self._replacement = _Replacement(url=url, method=method, twiml=twiml)
        self._interrupted.set()

    # the two kinds of call

    async def run_inbound(self, ring: Ring) -> CallReport:
        """Ring the number's webhook and talk until the call is over."""
        self._call.status = "ringing"
        callbacks = StatusCallbacks(
            requester=self._requester, url=ring.status_url, faults=self._faults
        )
        if ring.markup is not None:
            verbs = self._parse(ring.markup, ring.webhook_url)
        else:
            verbs = await self._load(ring.webhook_url, "POST", kind="inbound")
        if verbs and isinstance(verbs[0], Reject):
            status = "busy" if verbs[0].reason == "busy" else "no-answer"
            return await self._finish(HungUpBy.MARKUP, status, callbacks)
        return await self._answer(verbs, callbacks)

    async def run_outbound(self, form: DialForm, callee: Callee) -> CallReport:
        """Ring the callee and, if it answers, do what the server's document says."""
        callbacks = StatusCallbacks(
            requester=self._requester,
            url=form.status_url,
            method=form.status_method,
            events=form.status_events,
            faults=self._faults,
        )
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(callbacks.run())
            self._progress("initiated", "initiated", callbacks)
            self._progress("ringing", "ringing", callbacks)
            return await self._ring(form, callee, callbacks, tasks)

    async def _ring(
        self,
        form: DialForm,
        callee: Callee,
        callbacks: StatusCallbacks,
        tasks: asyncio.TaskGroup,
    ) -> CallReport:
        await self._unless_interrupted(asyncio.sleep(min(callee.ring_s, form.timeout_s)))
        outcome = Outcome.NO_ANSWER if callee.ring_s > form.timeout_s else callee.outcome
        if self._end is not None:
            return await self._finish(self._end, "canceled", callbacks, is_sending=True)
        if outcome != Outcome.ANSWER:
            return await self._finish(HungUpBy.CARRIER, outcome, callbacks, is_sending=True)
        self._mark_answered()
        self._progress("answered", "in-progress", callbacks)
        if form.time_limit_s is not None:
            asyncio.get_running_loop().call_later(
                form.time_limit_s, self._interrupt, HungUpBy.CARRIER
            )
        extra = await self._detect(form, callee, tasks)
        if form.url is not None:
            verbs = await self._load(form.url, form.method, kind="answer", extra=extra)
        else:
            verbs = self._parse(form.twiml or "<Response/>", "https://api.twilio.com/")
        return await self._answer(verbs, callbacks, is_sending=True)

    async def _detect(
        self, form: DialForm, callee: Callee, tasks: asyncio.TaskGroup
    ) -> Mapping[str, str]:
        """Run AMD: beside the call, or before its document, as asked for."""
        if not form.detects_machine:
            return {}
        verdict = {
            "AnsweredBy": callee.answered_by,
            "MachineDetectionDuration": str(round(callee.detection_s * 1000)),
        }
        if form.async_amd:
            tasks.create_task(self._report_amd(form.amd_url, verdict, callee.detection_s))
            return {}
        await self._unless_interrupted(asyncio.sleep(callee.detection_s))
        self._call.answered_by = callee.answered_by
        return verdict

    async def _report_amd(
        self, url: str | None, verdict: Mapping[str, str], detection_s: float
    ) -> None:
        await asyncio.sleep(detection_s)
        self._call.answered_by = verdict["AnsweredBy"]
        if url is not None:
            ids = {"AccountSid": self._call.account_sid, "CallSid": self._call.sid}
            await self._requester.send(url, {**ids, **verdict}, kind="amd")

    # the answered call

    async def _answer(
        self,
        verbs: Sequence[Verb] | None,
        callbacks: StatusCallbacks,
        *,
        is_sending: bool = False,
    ) -> CallReport:
        self._mark_answered()
        async with asyncio.TaskGroup() as tasks:
            clock = tasks.create_task(self._keep_time())
            try:
                hung_up_by = await self._carry_out(verbs)
            finally:
                clock.cancel()
        return await self._finish(hung_up_by, "completed", callbacks, is_sending=is_sending)

    async def _keep_time(self) -> None:
        async for _ in ticks(self._line.frame_ms):
            tick = self._line.tick()
            if self._connection is not None:
                self._connection.tick(tick)
            if self._line.has_hung_up:
                self._interrupt(HungUpBy.CALLER)
                return

    async def _carry_out(self, verbs: Sequence[Verb] | None) -> HungUpBy:
        """Run documents until the call is over; return who ended it."""
        while True:
            if self._end is not None:
                return self._end
            if self._replacement is not None:
                verbs = await self._take_replacement()
                continue
            if verbs is None:  # what Twilio calls an application error
                return HungUpBy.CARRIER
            queue = deque(verbs)
            verbs = None
            while queue and not self._interrupted.is_set():
                followed_by = await self._run_verb(queue.popleft())
                if followed_by is not None:
                    queue = deque(followed_by)
            if not self._interrupted.is_set():
                return HungUpBy.CARRIER if self._is_broken() else HungUpBy.MARKUP

    def _is_broken(self) -> bool:
        return bool(self._violations) and self._violations[-1].code in _APPLICATION_ERRORS

    async def _take_replacement(self) -> Sequence[Verb] | None:
        replacement, self._replacement = self._replacement, None
        if self._end is None:
            self._interrupted.clear()
        if replacement is None:
            return None
        if replacement.url is not None:
            return await self._load(replacement.url, replacement.method, kind="update")
        return self._parse(replacement.twiml or "<Response/>", "https://api.twilio.com/")

    async def _run_verb(self, verb: Verb) -> Sequence[Verb] | None:
        """Carry one verb out; return the verbs that replace the rest of the document, if any."""
        match verb:
            case Connect():
                return await self._connect(verb)
            case Redirect():
                return await self._load(verb.url, verb.method, kind="redirect") or ()
            case Hangup() | Reject():
                return ()
            case SayVerb():
                self._spoken.append(verb.text)
                await self._let_pass(len(verb.text) * _SAY_MS_PER_CHARACTER / 1000)
            case PauseVerb():
                await self._let_pass(verb.length_s)
            case Dial():
                return await self._dial(verb)
        return None

    async def _connect(self, verb: Connect) -> Sequence[Verb] | None:
        media = TwilioMedia(
            account_id=self._call.account_sid,
            call_id=self._call.sid,
            stream_id=new_sid("MZ"),
            parameters=verb.parameters,
        )
        connection = MediaConnection(
            verb=verb,
            media=media,
            line=self._line,
            dialing=Dialing(
                auth_token=self._world.auth_token, via=self._world.via, tls=self._world.tls
            ),
            faults=self._faults,
        )
        await self._tell_stream(verb, media, "stream-started")
        self._connection = connection
        try:
            report = await connection.run(self._interrupted)
        finally:
            self._connection = None
        self._streams.append(report)
        self._violations += connection.violations
        failed = report.refused_status is not None or report.close_code == 1006
        await self._tell_stream(verb, media, "stream-error" if failed else "stream-stopped")
        if report.ended_by == "fault":  # the caller's network went with it
            self._interrupt(HungUpBy.CARRIER)
        elif verb.action_url is not None and not self._interrupted.is_set():
            return await self._load(verb.action_url, "POST", kind="action") or ()
        return None

    async def _tell_stream(self, verb: Connect, media: TwilioMedia, event: str) -> None:
        if verb.status_url is None:
            return
        fields = {
            "AccountSid": self._call.account_sid,
            "CallSid": self._call.sid,
            "StreamSid": media.stream_id,
            "StreamName": verb.name,
            "StreamEvent": event,
            "Timestamp": datetime.now(UTC).isoformat(timespec="milliseconds"),
        }
        if event == "stream-error":
            fields["StreamError"] = "31921 - Stream - WebSocket - Close Error"
        await self._requester.send(verb.status_url, fields, kind="stream")

    async def _dial(self, verb: Dial) -> Sequence[Verb] | None:
        self._forwarded.append(verb.target)
        callee = self._dialled(verb.target)
        answered = callee.outcome == Outcome.ANSWER and callee.ring_s <= verb.timeout_s
        await self._let_pass(min(callee.ring_s, verb.timeout_s))
        if answered:
            await self._let_pass(callee.talk_s)
        if verb.action_url is None or self._interrupted.is_set():
            return None
        outcome = "completed" if answered else callee.outcome
        if not answered and callee.outcome == Outcome.ANSWER:
            outcome = Outcome.NO_ANSWER
        extra = {"DialCallStatus": outcome, "DialCallSid": new_sid("CA")}
        return await self._load(verb.action_url, "POST", kind="action", extra=extra) or ()

    # documents

    async def _load(
        self, url: str, method: str, *, kind: str, extra: Mapping[str, str] | None = None
    ) -> Sequence[Verb] | None:
        """Fetch a document; None, and a violation, when there is none to carry out."""
        self._documents += 1
        if self._documents > _MOST_DOCUMENTS:
            self._violations.append(Violation(code="12100", detail="documents lead in a circle"))
            return None
        fields = {**self._fields(), **(extra or {})}
        reply = await self._unless_interrupted(self._request(url, fields, method, kind))
        if reply is None:
            return None
        if reply.status != _OK:
            what = f"HTTP {reply.status}" if reply.status else "no answer in time"
            code = "11200" if reply.status else "11205" if reply.error == "rt" else "11210"
            self._violations.append(Violation(code=code, detail=f"{kind} webhook: {what}"))
            return None
        try:
            check_content_type(reply.content_type)
        except TwimlError as error:
            self._violations.append(error.violation)
            return None
        return self._parse(reply.text, url)

    async def _request(self, url: str, fields: Mapping[str, str], method: str, kind: str) -> Reply:
        async def send(delivery_id: str) -> Reply:
            return await self._requester.send(
                url, fields, kind=kind, method=method, delivery_id=delivery_id
            )

        delivery_id = str(uuid.uuid4())
        if kind != "inbound" or not self._faults.has(Fault.DUPLICATE_WEBHOOK):
            return await send(delivery_id)
        first, second = await asyncio.gather(send(delivery_id), send(delivery_id))
        if first.text != second.text:
            detail = "the same webhook twice, with the same token, got two different documents"
            self._violations.append(Violation(code="not-idempotent", detail=detail))
        return second

    def _parse(self, document: str, base_url: str) -> Sequence[Verb] | None:
        try:
            verbs, warnings = parse_twiml(document, base_url=base_url)
        except TwimlError as error:
            self._violations.append(error.violation)
            return None
        self._violations += warnings
        return verbs

    # small things

    def _fields(self) -> dict[str, str]:
        """Return the fields that every voice webhook has."""
        call = self._call
        fields = {
            "AccountSid": call.account_sid,
            "ApiVersion": "2010-04-01",
            "CallSid": call.sid,
            "CallStatus": call.status,
            "Called": call.to_number,
            "Caller": call.from_number,
            "Direction": call.direction,
            "From": call.from_number,
            "To": call.to_number,
        }
        if call.direction == "inbound":
            places = ("City", "State", "Zip", "Country")
            fields |= {
                f"{who}{what}": "" for who in ("From", "To", "Caller", "Called") for what in places
            }
            fields["StirVerstat"] = "TN-Validation-Passed-A"
        return fields

    def _progress(self, event: str, status: str, callbacks: StatusCallbacks) -> None:
        self._call.status = status
        callbacks.report(event, self._fields())

    def _mark_answered(self) -> None:
        if self._answered_s is None:
            self._answered_s = asyncio.get_running_loop().time()
            self._call.answered_at = datetime.now(UTC)
            self._call.status = "in-progress"

    def _interrupt(self, by: HungUpBy) -> None:
        if self._end is None:
            self._end = by
        self._interrupted.set()

    async def _let_pass(self, duration_s: float) -> None:
        await self._unless_interrupted(asyncio.sleep(duration_s))

    async def _unless_interrupted(self, work: Coroutine[object, object, _T]) -> _T | None:
        """Do ``work``; give it up, and return None, when the call ends or gets another document."""
        async with asyncio.TaskGroup() as tasks:
            doing = tasks.create_task(work)
            waiting = tasks.create_task(self._interrupted.wait())
            await asyncio.wait({doing, waiting}, return_when=asyncio.FIRST_COMPLETED)
            doing.cancel()
            waiting.cancel()
        return doing.result() if doing.done() and not doing.cancelled() else None

    async def _finish(
        self,
        hung_up_by: HungUpBy,
        status: str,
        callbacks: StatusCallbacks,
        *,
        is_sending: bool = False,
    ) -> CallReport:
        """Close the books, and return the report once the last callback has been answered."""
        self._call.leg = None
        self._call.status = status
        self._call.ended_at = datetime.now(UTC)
        duration_s = self._call.duration_s
        callbacks.report(
            "completed",
            {
                **self._fields(),
                "CallDuration": str(duration_s),
                "Duration": str(-(-duration_s // 60)),
                "SipResponseCode": _SIP_CODES.get(status, "200"),
            },
        )
        callbacks.finish()
        if not is_sending:
            await callbacks.run()
        return self._report(hung_up_by)

    def _report(self, hung_up_by: HungUpBy) -> CallReport:
        caller = self._caller
        answered_s = self._answered_s
        now_s = asyncio.get_running_loop().time()
        return CallReport(
            carrier_call_id=self._call.sid,
            status=self._call.status,
            hung_up_by=hung_up_by,
            duration_ms=0 if answered_s is None else round((now_s - answered_s) * 1000),
            counts=self._line.counts(),
            streams=tuple(self._streams),
            webhooks=self._webhooks,  # filled on until the last callback has been answered
            violations=tuple(self._violations),
            turns=tuple(caller.turns) if caller is not None else (),
            missed=tuple(caller.missed) if caller is not None else (),
            spoken=tuple(self._spoken),
            forwarded_to=tuple(self._forwarded),
            recording=self._line.recording(),
        )


_APPLICATION_ERRORS = frozenset({"11200", "11205", "11210", "12100", "12300", "31941"})
_SIP_CODES = {"busy": "486", "no-answer": "487", "canceled": "487", "failed": "404"}
