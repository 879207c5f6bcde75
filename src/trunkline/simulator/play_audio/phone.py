"""One call leg as the carrier runs it: rings, fetches XML, carries it out, and ends.

The leg owns the call's clock: a tick each 20 ms.
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

from trunkline.audio import dtmf_tone
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
from trunkline.simulator.faults import Fault, Faults
from trunkline.simulator.line import Line, LineTick
from trunkline.simulator.pacing import ticks
from trunkline.simulator.play_audio.book import CallEntry, DialForm
from trunkline.simulator.play_audio.peculiarities import Fields, Peculiarities
from trunkline.simulator.play_audio.stream import GARBAGE, MEDIA_FORMAT, PlayAudioMedia
from trunkline.simulator.play_audio.xml import (
    Dial,
    Hangup,
    Redirect,
    Speak,
    StreamElement,
    Verb,
    XmlError,
    check_content_type,
    parse_xml,
)
from trunkline.simulator.requester import Reply, Requester

__all__ = ["Phone", "World"]

_SPEAK_MS_PER_CHARACTER = 60  # a carrier's voice speaks about 16 characters a second
_MOST_DOCUMENTS = 30  # a call that is redirected in a circle is ended
_OK = 200

_WORDS = Words(
    refused="connection_failed", lost="connection_lost", slow="DegradedStream", garbage=GARBAGE
)

_NORMAL, _END_OF_XML = ("4000", "Normal Hangup"), ("4010", "End Of XML Instructions")
_URL_ERROR, _XML_ERROR = ("7011", "Error Reaching Answer URL"), ("8011", "Invalid Answer XML")
_CAUSES: Mapping[str, tuple[str, str]] = {
    Outcome.BUSY: ("3010", "Busy Line"),
    Outcome.NO_ANSWER: ("3000", "No Answer"),
    Outcome.FAILED: ("5010", "Network Error"),
    "timeout": ("6010", "Ring Timeout Reached"),
    "cancel": ("1000", "Cancelled"),
}

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What every call of one simulated account shares."""

    rules: Peculiarities
    http: httpx.AsyncClient
    main_account_id: str
    auth_token: str
    via: str | None = None
    tls: ssl.SSLContext | None = None


class Phone:
    """One leg. ``run_inbound`` or ``run_outbound`` once, and it is used up.

    Args:
        call: The call's row in the carrier's book; kept up to date.
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
        self._rules = world.rules
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
        self._transfer: tuple[str, str] | None = None
        self._interrupted = asyncio.Event()
        self._answered_s: float | None = None
        self._documents = 0
        self._has_overflowed = False
        self._requester = Requester(
            http=world.http,
            sign=self._sign,
            via=world.via,
            on_report=self._webhooks.append,
            headers={"User-Agent": self._rules.user_agent},
            defaults=self._rules.overrides,
        )
        call.leg = self

    def _sign(self, method: str, url: str, fields: Fields) -> Mapping[str, str]:
        wrong = "?" if self._faults.has(Fault.BAD_SIGNATURE) else ""
        return self._rules.sign(self._world.auth_token + wrong, method, url, fields)

    # what the REST API does

    def end(self) -> None:
        """Hang up."""
        self._interrupt(HungUpBy.REST)

    def transfer(self, url: str, method: str) -> None:
        """Go on with the document at ``url``; the running stream ends."""
        self._transfer = (url, method)
        self._interrupted.set()

    # the two kinds of call

    async def run_inbound(self, ring: Ring) -> CallReport:
        """Ring the number's answer URL and talk until the call is over."""
        hangup_url = ring.status_url
        if hangup_url is None and self._rules.hangup_goes_to_answer_url and ring.markup is None:
            hangup_url = ring.webhook_url
        self._call.status = "ringing"
        if ring.markup is not None:
            verbs = self._parse(ring.markup)
        else:
            verbs = await self._load(ring.webhook_url, "POST", kind="inbound", event="StartApp")
        match verbs:
            case [Hangup(reason=str(reason)), *_]:
                self._call.cause = ("3020", "Rejected") if reason == "rejected" else _CAUSES["busy"]
                return await self._finish(HungUpBy.MARKUP, "busy", hangup_url)
            case _:
                return await self._answer(verbs, hangup_url)

    async def run_outbound(self, form: DialForm, callee: Callee) -> CallReport:
        """Ring the callee and, if it answers, do what the server's document says."""
        async with asyncio.TaskGroup() as tasks:
            self._call.status = "ringing"
            if form.ring_url is not None:
                tasks.create_task(self._report_event(form.ring_url, "Ring", kind="ring"))
            ring_s = min(callee.ring_s, form.ring_timeout_s)
            await self._unless_interrupted(asyncio.sleep(ring_s))
            outcome = "timeout" if callee.ring_s > form.ring_timeout_s else callee.outcome
            if self._end is not None:
                return await self._give_up(self._end, "cancel", form)
            if outcome != Outcome.ANSWER:
                return await self._give_up(HungUpBy.CARRIER, outcome, form)
            self._mark_answered()
            if form.time_limit_s is not None:
                asyncio.get_running_loop().call_later(
                    form.time_limit_s, self._interrupt, HungUpBy.CARRIER
                )
            if form.amd_url is not None and callee.answered_by != "human":
                # Nothing is reported of a human.
                tasks.create_task(self._report_machine(form.amd_url, callee.detection_s))
            verbs = await self._load(
                form.answer_url, form.answer_method, kind="answer", event="StartApp"
            )
            return await self._answer(verbs, form.hangup_url)

    async def _give_up(self, by: HungUpBy, outcome: str, form: DialForm) -> CallReport:
        self._call.cause = _CAUSES.get(outcome, _CAUSES[Outcome.FAILED])
        return await self._finish(by, outcome, form.hangup_url)

    async def _report_machine(self, url: str, detection_s: float) -> None:
        await asyncio.sleep(detection_s)
        await self._report_event(url, "MachineDetection", kind="amd", extra={"Machine": "true"})

    # the answered call

    async def _answer(self, verbs: Sequence[Verb] | None, hangup_url: str | None) -> CallReport:
        self._mark_answered()
        async with asyncio.TaskGroup() as tasks:
            clock = tasks.create_task(self._keep_time())
            try:
                hung_up_by = await self._carry_out(verbs)
            finally:
                clock.cancel()
        return await self._finish(hung_up_by, "completed", hangup_url)

    async def _keep_time(self) -> None:
        async for _ in ticks(self._line.frame_ms):
            tick = self._line.tick()
            self._sound_keys(tick)
            self._check_buffer()
            if self._connection is not None:
                self._connection.tick(tick)
            if self._line.has_hung_up:
                self._interrupt(HungUpBy.CALLER)
                return

    def _sound_keys(self, tick: LineTick) -> None:
        """Where there is no event for a key the caller's telephone is heard to beep."""
        if not self._rules.has_dtmf_events:
            rate_hz = MEDIA_FORMAT.sample_rate_hz
            for digit in tick.digits:
                self._line.say(dtmf_tone(digit, rate_hz), rate_hz)

    def _check_buffer(self) -> None:
        limit_ms = self._rules.buffer_ms
        if limit_ms is None or self._has_overflowed:
            return
        if MEDIA_FORMAT.duration_ms(self._line.playout.queued_bytes) > limit_ms:
            self._has_overflowed = True
            self._violate("buffer_overflow", f"more than {limit_ms} ms of audio wait to be played")

    async def _carry_out(self, verbs: Sequence[Verb] | None) -> HungUpBy:
        """Run documents until the call is over; return who ended it."""
        while True:
            if self._end is not None:
                self._call.cause = _NORMAL
                return self._end
            if self._transfer is not None:
                verbs = await self._take_transfer(self._transfer)
                continue
            if verbs is None:
                return HungUpBy.CARRIER
            queue, verbs = deque(verbs), None
            self._call.cause = _END_OF_XML
            while queue and not self._interrupted.is_set():
                verb = queue.popleft()
                followed_by = await self._run_verb(verb)
                if isinstance(verb, Redirect) and followed_by is None:
                    if not self._interrupted.is_set():
                        return HungUpBy.CARRIER
                elif followed_by is not None:
                    queue = deque(followed_by)
            if not self._interrupted.is_set():
                return HungUpBy.MARKUP

    async def _take_transfer(self, transfer: tuple[str, str]) -> Sequence[Verb] | None:
        self._transfer = None
        self._interrupted.clear()
        return await self._load(*transfer, kind="transfer", event="Redirect")

    async def _run_verb(self, verb: Verb) -> Sequence[Verb] | None:
        """Carry one out; return the verbs that replace the rest of the document, if any."""
        match verb:
            case StreamElement():
                await self._stream(verb)
            case Redirect():
                return await self._load(verb.url, verb.method, kind="redirect", event="Redirect")
            case Hangup():
                self._call.cause = _NORMAL
                return ()
            case Speak():
                self._spoken.append(verb.text)
                await self._let_pass(len(verb.text) * _SPEAK_MS_PER_CHARACTER / 1000)
            case Dial():
                return await self._dial(verb)
        return None

    async def _stream(self, verb: StreamElement) -> None:
        if not verb.keeps_call_alive:
            self._violate("4010", "without keepCallAlive the call goes on at once, and ends")
            return
        token = self._world.auth_token
        if self._faults.has(Fault.BAD_UPGRADE_SIGNATURE):
            token += "?"
        media = PlayAudioMedia(
            self._rules,
            account_id=self._world.main_account_id,
            call_id=self._call.uuid,
            stream_id=str(uuid.uuid4()),
        )
        proof = self._rules.sign_upgrade(token, verb.url)
        headers = {"User-Agent": self._rules.user_agent, **proof}
        connection = MediaConnection(
            media=media,
            line=self._line,
            dialing=Dialing(
                url=verb.url, headers=headers, via=self._world.via, tls=self._world.tls
            ),
            words=_WORDS,
            parameters=verb.parameters,
            faults=self._faults,
        )
        await self._tell_stream(verb, media, "StartStream")
        self._connection = connection
        try:
            report = await connection.run(self._interrupted)
        finally:
            self._connection = None
        self._streams.append(report)
        self._violations += connection.violations
        self._call.pressed += connection.pressed
        failed = report.refused_status is not None or report.close_code == 1006
        await self._tell_stream(verb, media, "DroppedStream" if failed else "StopStream")
        if report.ended_by == "fault":  # the caller's network went with it
            self._interrupt(HungUpBy.CARRIER)

    async def _tell_stream(self, verb: StreamElement, media: PlayAudioMedia, event: str) -> None:
        if verb.status_url is not None:
            extra = {
                "StreamID": media.stream_id,
                "ServiceURL": verb.url,
                "Timestamp": datetime.now(UTC).isoformat(timespec="seconds"),
                "Error": "connection_failed" if event == "DroppedStream" else "",
            }
            await self._report_event(verb.status_url, event, kind="stream", extra=extra)

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
            outcome = "timeout"
        return await self._load(
            verb.action_url,
            "POST",
            kind="action",
            event="Redirect",
            extra={"DialStatus": outcome, "DialBLegUUID": str(uuid.uuid4())},
        )

    # documents and callbacks

    async def _load(
        self,
        url: str,
        method: str,
        *,
        kind: str,
        event: str,
        extra: Mapping[str, str] | None = None,
    ) -> Sequence[Verb] | None:
        """Fetch a document; None, and a violation, when there is none to carry out."""
        self._documents += 1
        if self._documents > _MOST_DOCUMENTS:
            return self._violate("8011", "documents lead in a circle")
        fields = self._fields(event, extra)
        reply = await self._unless_interrupted(self._fetch(url, fields, method, kind))
        if reply is None:
            return None
        if reply.status != _OK:
            what = f"HTTP {reply.status}" if reply.status else "no answer in time"
            self._call.cause = _URL_ERROR
            return self._violate(_URL_ERROR[0], f"{kind} webhook: {what}")
        return self._parse(reply.text, reply.content_type)

    async def _fetch(self, url: str, fields: Mapping[str, str], method: str, kind: str) -> Reply:
        async def send() -> Reply:
            return await self._requester.request(url, fields, kind=kind, method=method)

        if kind != "inbound" or not self._faults.has(Fault.DUPLICATE_WEBHOOK):
            return await send()
        first, second = await asyncio.gather(send(), send())
        if first.text != second.text:
            self._violate("not-idempotent", "the same webhook twice got two different documents")
        return second

    def _parse(self, document: str, content_type: str = "text/xml") -> Sequence[Verb] | None:
        try:
            check_content_type(content_type)
            verbs, warnings = parse_xml(document, self._rules)
        except XmlError as error:
            self._violations.append(error.violation)
            self._call.cause = _XML_ERROR
            return None
        self._violations += warnings
        return verbs

    async def _report_event(
        self, url: str, event: str, *, kind: str, extra: Mapping[str, str] | None = None
    ) -> None:
        fields = self._fields(event, extra)
        for _ in range(2 if self._faults.has(Fault.DUPLICATE_CALLBACKS) else 1):
            await self._requester.request(url, fields, kind=kind)

    def _fields(self, event: str, extra: Mapping[str, str] | None = None) -> Mapping[str, str]:
        """Return the fields that every webhook has: all text, numbers without their plus."""
        call = self._call
        fields = {
            "CallUUID": call.uuid,
            "From": call.from_number,
            "To": call.to_number,
            "CallStatus": call.status,
            "Direction": call.direction,
            "Event": event,
            "ParentAuthID": self._world.main_account_id,
            "SessionStart": call.created_at.strftime("%Y-%m-%d %H:%M:%S.%f"),
            "BillRate": "0.0085",
        }
        if call.direction == "outbound":
            same = ("RequestUUID", "ALegUUID", "ALegRequestUUID")
            fields |= dict.fromkeys(same, call.uuid)
        return {**fields, **(extra or {})}

    # small things

    def _violate(self, code: str, detail: str) -> None:
        self._violations.append(Violation(code=code, detail=detail))

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
        """Do ``work``; give it up, and return None, when the call ends or is transferred."""
        async with asyncio.TaskGroup() as tasks:
            doing = tasks.create_task(work)
            waiting = tasks.create_task(self._interrupted.wait())
            await asyncio.wait({doing, waiting}, return_when=asyncio.FIRST_COMPLETED)
            doing.cancel()
            waiting.cancel()
        return doing.result() if doing.done() and not doing.cancelled() else None

    async def _finish(
        self, hung_up_by: HungUpBy, status: str, hangup_url: str | None
    ) -> CallReport:
        """Close the books, and return the report once the last callback has been answered."""
        call = self._call
        call.leg = None
        call.status = status
        call.ended_at = datetime.now(UTC)
        if hangup_url is not None:
            source = {HungUpBy.REST: "API Request", HungUpBy.MARKUP: "Answer XML"}
            extra = {
                "Duration": str(call.duration_s),
                "BillDuration": str(-(-call.duration_s // 60) * 60),
                "HangupCauseCode": call.cause[0],
                "HangupCauseName": call.cause[1],
                "HangupSource": source.get(hung_up_by, "Caller"),
                "TotalCost": "0.01000",
            }
            await self._report_event(hangup_url, "Hangup", kind="hangup", extra=extra)
        return self._report(hung_up_by)

    def _report(self, hung_up_by: HungUpBy) -> CallReport:
        caller, answered_s = self._caller, self._answered_s
        now_s = asyncio.get_running_loop().time()
        return CallReport(
            carrier_call_id=self._call.uuid,
            status=self._call.status,
            hung_up_by=hung_up_by,
            duration_ms=0 if answered_s is None else round((now_s - answered_s) * 1000),
            counts=self._line.counts(),
            streams=tuple(self._streams),
            webhooks=self._webhooks,
            violations=tuple(self._violations),
            turns=tuple(caller.turns) if caller is not None else (),
            missed=tuple(caller.missed) if caller is not None else (),
            spoken=tuple(self._spoken),
            forwarded_to=tuple(self._forwarded),
            recording=self._line.recording(),
        )
