"""One call's stream: from the carrier's first message to ``stream_ended`` in the journal.

The states and what moves between them are in ``lifecycle.py``. Audio passes straight through in
plain calls: a carrier's message goes to the protocol core, its audio to the recording, the detector
and the worker's channel; bot audio goes to the ``Playout``, which paces it. Ten times a second
``_tick`` looks after everything that time alone decides.

The worker is claimed when the stream starts; caller audio waits for it meanwhile. A worker that
fails ends the call for now: ``attempt`` and the last checkpoint are kept, and ``_replace_worker``
is where another one would take over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import structlog

from trunkline.dispatch.channel import split_audio_out
from trunkline.dispatch.messages import (
    BotFinished,
    BotStarted,
    CallFacts,
    CallStarted,
    Checkpoint,
    ClearAudio,
    DtmfPressed,
    EndCall,
    Heartbeat,
    Message,
    PlayMark,
    SessionEnding,
    SpokenText,
    TranscriptLine,
    UtteranceEnd,
)
from trunkline.errors import DispatchError, RemoteProtocolError
from trunkline.gateway.host import Host
from trunkline.gateway.lifecycle import SessionEvent, SessionState, advance
from trunkline.gateway.link import WorkerLink
from trunkline.gateway.marks import SpokenPiece
from trunkline.gateway.media import CallMedia, started_entry
from trunkline.gateway.stats import Stats
from trunkline.gateway.watchdog import Verdict, Watchdog
from trunkline.gateway.websocket import CLOSE_ABNORMAL, WebSocket
from trunkline.telephony.call import EndedBy, EndReason
from trunkline.telephony.carrier import Carrier
from trunkline.telephony.media import (
    AudioCleared,
    AudioReceived,
    DtmfReceived,
    MarkPlayed,
    ProtocolWarning,
    StreamEvent,
    StreamStarted,
    StreamStopped,
)

__all__ = ["Session", "Stats"]

log = structlog.get_logger(__name__)

TICK_S = 0.1
HANGUP_WITHIN_S = 2.5
"""After ``hangup_wanted`` the front has so long to end the leg before we close the socket."""
SETTLE_WITHIN_S = 2.0
"""After the stream's end the worker has so long for its last transcript lines."""
_FILE_WITHIN_S = 1.0
_FINISH_WITHIN_S = 5.0  # queued speech, when somebody else than the bot ends the call
_FINISH_SLACK_S = 3.0  # beyond its length, when the bot ends it
_MAX_WARNINGS = 1_000  # a carrier does not send so much nonsense in one call
_MAX_AHEAD_MS = 30_000  # caller audio faster than real time by more than this is no telephone call
_UNSENT_LIMIT_S = 2
_WIRE_FACTOR = 2  # base64 and JSON around each frame, rounded up
_UNSENT_SLACK_BYTES = 16_384

_MAX_PIECES = 10_000
_LIVE = frozenset(
    {
        SessionState.WAITING,
        SessionState.OPENING,
        SessionState.TALKING,
        SessionState.FINISHING,
        SessionState.HANGING_UP,
    }
)
_TALKABLE = frozenset({SessionState.OPENING, SessionState.TALKING})
_ENDING_REASONS = {"stop": "stop", "dropped": "drop", "replaced": "drop"}

_CLOSE_NORMAL, _CLOSE_POLICY, _CLOSE_RESTART, _CLOSE_GOING_AWAY = 1000, 1008, 1012, 1001


@dataclass(slots=True, kw_only=True)
class _End:
    """How the call is going to end, or has ended."""

    by: str = ""
    reason: str = ""
    how: str = ""
    close_code: int = 0


class Session:
    """One media stream of one call. Is the ``WebSocketUser`` of its socket.

    Args:
        facts: The call, as the front knows it.
        carrier: Whose protocol is spoken.
        host: The gateway.
    """

    def __init__(self, facts: CallFacts, carrier: Carrier, host: Host) -> None:
        self.facts = facts
        self.call_id = facts.call_id
        self.state = SessionState.WAITING
        self.stats = Stats()
        self.attempt = 1
        self.max_attempts = 1
        self.history: list[dict[str, object]] = []
        self._features = carrier.features
        self._core = carrier.require_stream(facts.stream_options)
        self._host = host
        self._log = log.bind(call_id=facts.call_id)
        self._loop = asyncio.get_running_loop()
        self._websocket: WebSocket | None = None
        self._media: CallMedia | None = None
        self._link: WorkerLink | None = None
        self._watchdog: Watchdog | None = None
        self._opened_ms = self._now_ms()
        self._end = _End()
        self._deadline_s: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._tick_due_s = 0.0
        self._warnings = 0
        self._asked_ms = 0
        self._duration_ms = 0
        self._is_settling = False
        self._worker_handlers: dict[type[Message], Callable[..., None]] = {
            BotStarted: self._bot_started,
            UtteranceEnd: self._utterance_ended,
            ClearAudio: self._clear_wanted,
            PlayMark: self._mark_wanted,
            SpokenText: self._text_spoken,
            TranscriptLine: self._line_written,
            Checkpoint: self._checkpoint_taken,
            EndCall: self._end_wanted_by_bot,
            Heartbeat: self._heartbeat_came,
            BotFinished: self._bot_finished,
        }

    def _now_ms(self) -> int:
        return int(self._loop.time() * 1000)

    def _advance(self, event: SessionEvent) -> None:
        self.state = advance(self.state, event)

    @property
    def is_live(self) -> bool:
        """The call can still be talked on."""
        return self.state in _LIVE

    # the socket

    def on_open(self, websocket: WebSocket) -> None:
        """The handshake is done; the carrier has ``start_timeout_s`` for its ``start``."""
        self._websocket = websocket
        self._deadline_s = self._loop.time() + self.facts.start_timeout_s
        self._schedule_tick()

    def on_message(self, data: bytes | str) -> None:
        """One message from the carrier."""
        if self.state is SessionState.SETTLING or self.state is SessionState.OVER:
            return
        core, now_ms = self._core, self._now_ms()
        self.stats.messages_in += 1
        try:
            core.receive_message(data, now_ms)
        except RemoteProtocolError as error:
            self._count_warning("protocol_error")
            self._log.warning(
                "stream broke its protocol", reason=error.reason, close_code=error.close_code
            )
            self._stream_over("closed", error.close_code)
            return
        for event in core.events_received():
            if type(event) is AudioReceived:
                self._receive_audio(event, now_ms)
            else:
                self._receive_event(event, now_ms)
        self._flush()

    def _flush(self) -> None:
        """Send what the core has to send, and take the events that a verb may have made."""
        websocket = self._websocket
        for message in self._core.messages_to_send():
            if websocket is not None:
                websocket.send(message)

    def on_closed(self, code: int, clean: bool) -> None:
        """The socket is gone."""
        failure = "" if self._websocket is None else self._websocket.failure
        self._websocket = None
        self._core.receive_eof()
        if self.state in (SessionState.SETTLING, SessionState.OVER):
            return
        if failure:
            self._log.warning("stream was cut off", reason=failure)
        self._stream_over("closed" if clean else "lost", code)

    # from the carrier

    def _receive_audio(self, event: AudioReceived, now_ms: int) -> None:
        if self._media is not None:
            self._media.receive(event, now_ms)
            if self._link is not None:
                self._link.send_audio(event.payload)

    def _receive_event(self, event: StreamEvent, now_ms: int) -> None:
        match event:
            case StreamStarted():
                self._start(event, now_ms)
            case MarkPlayed():
                self._receive_mark(event, now_ms)
            case DtmfReceived():
                self._receive_digit(event, now_ms)
            case StreamStopped():
                self._stream_over("stop", 0)
            case ProtocolWarning():
                self._count_warning(event.code)
            case AudioReceived() | AudioCleared():
                pass

    def _receive_mark(self, event: MarkPlayed, now_ms: int) -> None:
        if self._media is not None:
            self._media.playout.echo(event.name, self._media.position(now_ms))
            self._check_finished()

    def _receive_digit(self, event: DtmfReceived, now_ms: int) -> None:
        if self._media is None:
            return
        at_ms = self._media.position_ms(now_ms)
        self._host.write(self.call_id, "dtmf", {"digit": event.digit, "at_ms": at_ms})
        self._tell(DtmfPressed(digit=event.digit))
        if self._watchdog is not None:
            self._watchdog.speech(self._loop.time())

    def _count_warning(self, code: str) -> None:
        # Codes are the core's own closed set, so the table stays small.
        self.stats.warnings[code] = self.stats.warnings.get(code, 0) + 1
        self._warnings += 1
        if self._warnings > _MAX_WARNINGS and self.is_live:
            self._log.warning("stream sends too much nonsense")
            self._stream_over("closed", _CLOSE_POLICY)

    # start

    def _start(self, started: StreamStarted, now_ms: int) -> None:
        self._advance(SessionEvent.STREAM_STARTED)
        if self.state is SessionState.OPENING:
            self._deadline_s = None
        previous = self._host.stream_started(self)
        if previous is not None:
            self.attempt, self.history = previous.attempt + 1, previous.history
            previous.replace()
        self.facts = _with_numbers(self.facts, started)
        self._media = media = self._new_media(started, now_ms)
        now_s = self._loop.time()
        self._watchdog = Watchdog(
            now_s,
            max_duration_s=self.facts.max_duration_s,
            silence_timeout_s=self.facts.silence_timeout_s,
            max_loop_block_s=self.facts.agent.max_loop_block_s,
        )
        if self._websocket is not None:
            unsent_bytes = started.sent_format.n_bytes(_UNSENT_LIMIT_S * 1000) * _WIRE_FACTOR
            self._websocket.limit_unsent(unsent_bytes + _UNSENT_SLACK_BYTES)
        entry = started_entry(started, self.facts)
        self._host.write(self.call_id, "stream_started", entry)
        media.playout.probe(media.position(now_ms))
        self._log.info(
            "stream started", carrier=self.facts.carrier, stream_number=self.facts.stream_number
        )
        if self.state is SessionState.OPENING:
            self._employ(started)

    def _new_media(self, started: StreamStarted, now_ms: int) -> CallMedia:
        facts, host = self.facts, self._host
        media = CallMedia(
            started,
            facts,
            self._features,
            core=self._core,
            stats=self.stats,
            flush=self._flush,
            tell=self._tell,
            write_turn=self._write_turn,
            now_ms=now_ms,
        )
        if host.detector is not None:
            media.detect_speech(host.detector)
        if facts.record and facts.recording_path:
            media.record(host.recorder, facts.recording_path)
        return media

    def _write_turn(self, data: dict[str, object]) -> None:
        self._host.write(self.call_id, "turn", data)

    # the worker

    def _employ(self, started: StreamStarted) -> None:
        self.stats.bot_attempts += 1
        self._link = link = WorkerLink(
            pool=self._host.pool,
            sender=self._host.name,
            stats=self.stats,
            on_message=self._receive_from_worker,
            on_audio=self._receive_bot_audio,
            on_lost=self._worker_lost,
        )
        first = CallStarted(
            facts=self.facts,
            stream_id=started.stream_id or self.call_id,
            carrier_call_id=started.carrier_call_id or self.facts.carrier_call_id or "",
            received_format=started.received_format,
            sent_format=started.sent_format,
            parameters=dict(started.parameters),
            raw_start=dict(started.raw),
            attempt=self.attempt,
            history=self.history,
        )
        self._asked_ms = self._now_ms()
        self._host.spawn(self._employ_worker(link, first))

    async def _employ_worker(self, link: WorkerLink, first: CallStarted) -> None:
        if self.facts.caller_lookup and not self.facts.from_number:
            from_number, to_number = await self._host.look_up(self.call_id, first.carrier_call_id)
            self.facts = msgspec.structs.replace(
                self.facts, from_number=from_number, to_number=self.facts.to_number or to_number
            )
            first = msgspec.structs.replace(first, facts=self.facts)
        try:
            is_ours = await link.employ(self.call_id, self.facts.agent, self.attempt, first)
        except DispatchError as error:
            if link is self._link:
                self._bot_failed("no_worker", str(error))
            return
        if is_ours and self._watchdog is not None:
            self._watchdog.worker_came(self._loop.time())

    def _tell(self, message: Message) -> None:
        if self._link is not None:
            self._link.send(message)

    def _receive_from_worker(self, message: Message) -> None:
        handler = self._worker_handlers.get(type(message))
        if handler is not None:
            handler(message)

    def _receive_bot_audio(self, payload: bytes) -> None:
        media = self._media
        if media is None or not self.is_live:
            self.stats.dropped_bytes_out += len(payload)
            return
        utterance, offset_ms, audio = split_audio_out(payload)
        media.playout.push_audio(utterance, offset_ms, audio, media.position(self._now_ms()))

    def _bot_started(self, message: BotStarted) -> None:
        self._advance(SessionEvent.BOT_STARTED)
        worker_id = "" if self._link is None else self._link.worker_id
        wait_ms = self._now_ms() - self._asked_ms
        data = {"worker_id": worker_id, "attempt": self.attempt, "wait_ms": wait_ms}
        self._host.write(self.call_id, "bot_started", data)

    def _utterance_ended(self, message: UtteranceEnd) -> None:
        if self._media is not None and self.is_live:
            self._media.playout.push_end(message.utterance, self._media.position(self._now_ms()))

    def _clear_wanted(self, message: ClearAudio) -> None:
        if self._media is not None and self.is_live:
            self._media.playout.clear(self._media.position(self._now_ms()))

    def _mark_wanted(self, message: PlayMark) -> None:
        if self._media is not None and self.is_live:
            self._media.playout.push_mark(message.name, self._media.position(self._now_ms()))

    def _text_spoken(self, message: SpokenText) -> None:
        if self._media is not None:
            utterance = self._media.playout.ledger.utterance(message.utterance)
            if len(utterance.pieces) < _MAX_PIECES:
                utterance.pieces.append(SpokenPiece(message.offset_ms, message.text))

    def _line_written(self, message: TranscriptLine) -> None:
        if self._media is not None:
            self._media.turns.line(message, self._media.position_ms(self._now_ms()))

    def _checkpoint_taken(self, message: Checkpoint) -> None:
        self.history = message.messages

    def _heartbeat_came(self, message: Heartbeat) -> None:
        self.stats.max_bot_lag_ms = max(self.stats.max_bot_lag_ms, message.loop_lag_ms)
        if self._watchdog is not None:
            self._watchdog.heartbeat(message.loop_lag_ms, self._loop.time())

    def _end_wanted_by_bot(self, message: EndCall) -> None:
        self.end(EndedBy.BOT, message.reason)

    def _bot_finished(self, message: BotFinished) -> None:
        if self._watchdog is not None:
            self._watchdog.worker_left()
        if self.state is SessionState.SETTLING:
            self._settle()
        elif message.error:
            self._bot_failed("raised", message.error)
        else:
            self.end(EndedBy.BOT, EndReason.COMPLETED)

    def _worker_lost(self, detail: str) -> None:
        link = self._link
        if self._watchdog is not None:
            self._watchdog.worker_left()
        if self.state is SessionState.SETTLING:
            self._settle()
        elif link is not None and not link.was_finished:
            self._bot_failed("died", detail)

    def _bot_failed(self, reason: str, detail: str) -> None:
        if self.state not in _TALKABLE:
            return
        self._log.warning("bot failed", reason=reason, attempt=self.attempt)
        data = {"reason": reason, "detail": detail, "attempt": self.attempt}
        self._host.write(self.call_id, "bot_failed", data)
        if self._link is not None:
            self._link.abort()
        if self._watchdog is not None:
            self._watchdog.worker_left()
        if self._media is not None:
            # Half a sentence without its end helps nobody; nobody else is left to decide that.
            self._media.playout.clear(self._media.position(self._now_ms()))
        if self._media is not None and self.attempt < self.max_attempts:
            self._replace_worker(self._media.started)
        else:
            self.end(EndedBy.PLATFORM, EndReason.BOT_FAILED)

    def _replace_worker(self, started: StreamStarted) -> None:
        """Give the call to another worker, with the conversation so far."""
        self.attempt += 1
        self._employ(started)

    # time

    def _schedule_tick(self) -> None:
        self._tick_due_s = self._loop.time() + TICK_S
        self._timer = self._loop.call_later(TICK_S, self._tick)

    def _tick(self) -> None:
        now_s = self._loop.time()
        lag_ms = int((now_s - self._tick_due_s) * 1000)
        self.stats.max_loop_lag_ms = max(self.stats.max_loop_lag_ms, lag_ms)
        if self._media is not None and self.is_live:
            self._tick_media(self._media, now_s)
        if self._deadline_s is not None and now_s >= self._deadline_s:
            self._deadline_passed()
        if self.state is not SessionState.OVER:
            self._schedule_tick()

    def _tick_media(self, media: CallMedia, now_s: float) -> None:
        now_ms = int(now_s * 1000)
        media.tick(now_ms)
        if media.received_ms > now_ms - self._opened_ms + _MAX_AHEAD_MS:
            self._log.warning("stream sends faster than real time")
            self._stream_over("closed", _CLOSE_POLICY)
            return
        self._check_watchdog(media, now_s)
        self._check_finished()

    def _check_watchdog(self, media: CallMedia, now_s: float) -> None:
        watchdog = self._watchdog
        if watchdog is None or self.state not in _TALKABLE:
            return
        has_audio_left = not media.playout.is_idle
        if media.is_anyone_heard:
            watchdog.speech(now_s)
        match watchdog.check(now_s, has_audio_left=has_audio_left):
            case Verdict.FINE:
                pass
            case Verdict.LAGS:
                self._log.warning("bot blocks its event loop")
            case Verdict.HUNG:
                self._bot_failed("hung", "")
            case Verdict.MAX_DURATION:
                self.end(EndedBy.PLATFORM, EndReason.MAX_DURATION)
            case Verdict.SILENCE:
                self.end(EndedBy.PLATFORM, EndReason.SILENCE)

    def _deadline_passed(self) -> None:
        self._deadline_s = None
        match self.state:
            case SessionState.WAITING:
                self._log.warning("stream never started")
                self._stream_over("never_started", _CLOSE_POLICY)
            case SessionState.FINISHING:
                self._hang_up()
            case SessionState.HANGING_UP:
                self._stream_over("closed", _CLOSE_NORMAL)
            case SessionState.SETTLING:
                self._settle()
            case _:
                pass

    # the end

    def end(self, by: str, reason: str) -> None:
        """Let queued speech finish, then have the leg hung up. Once only."""
        if self.state not in _TALKABLE and self.state is not SessionState.WAITING:
            return
        self._advance(SessionEvent.END_WANTED)
        self._end.by, self._end.reason = str(by), str(reason)
        media = self._media
        within_s = _FINISH_WITHIN_S
        if media is not None:
            media.playout.is_closed = True
            if by == EndedBy.BOT:
                within_s = (
                    media.playout.left_ms(media.position(self._now_ms())) / 1000 + _FINISH_SLACK_S
                )
        self._deadline_s = self._loop.time() + within_s
        self._check_finished()

    def drop(self) -> None:
        """End the stream at once."""
        if self.is_live:
            self._stream_over("dropped", _CLOSE_GOING_AWAY)

    def replace(self) -> None:
        """A newer stream of the same call has started."""
        if self.is_live:
            self._stream_over("replaced", _CLOSE_RESTART)

    def _check_finished(self) -> None:
        if self.state is SessionState.FINISHING and (
            self._media is None or self._media.playout.is_idle
        ):
            self._hang_up()

    def _hang_up(self) -> None:
        self._advance(SessionEvent.SPEECH_DONE)
        self._host.write(
            self.call_id, "hangup_wanted", {"by": self._end.by, "reason": self._end.reason}
        )
        self._tell(SessionEnding(reason="ended"))
        self._deadline_s = self._loop.time() + HANGUP_WITHIN_S

    def _stream_over(self, how: str, code: int) -> None:
        was_hanging_up = self.state is SessionState.HANGING_UP
        self._advance(SessionEvent.STREAM_OVER)
        self._end.how = how if self._media is not None else "never_started"
        self._end.close_code = code
        media = self._media
        if media is not None:
            self._duration_ms = media.stop(self._now_ms())
        self._close_socket(_CLOSE_NORMAL if code in (0, 1005, CLOSE_ABNORMAL) else code)
        link = self._link
        if link is None or not link.is_connected:
            self._settle()
            return
        if not was_hanging_up:
            link.send(SessionEnding(reason=_ENDING_REASONS.get(how, "lost")))
        self._deadline_s = self._loop.time() + SETTLE_WITHIN_S
        if link.was_finished:
            self._settle()

    def _close_socket(self, code: int) -> None:
        if self._websocket is not None:
            self._websocket.close(code)
        self._core.receive_eof()

    def _settle(self) -> None:
        """The worker has said all, or its time is up: close the file, then write the end."""
        if self._is_settling:
            self._write_end()
            return
        self._is_settling = True
        media = self._media
        if self._link is not None:
            self._link.close()
        if media is None or media.recording is None:
            self._write_end()
            return
        media.turns.settle(self._duration_ms, at_end=True)
        self._deadline_s = self._loop.time() + _FILE_WITHIN_S
        media.recording.close(self._file_closed)

    def _file_closed(self) -> None:
        """Called on the writer thread."""
        self._loop.call_soon_threadsafe(self._write_end)

    def _write_end(self) -> None:
        if self.state is SessionState.OVER:
            return
        self._advance(SessionEvent.SETTLED)
        media, recording_path = self._media, None
        if media is not None:
            media.turns.settle(self._duration_ms, at_end=True)
            if media.recording is not None:
                self.stats.recording_gaps = media.recording.gaps
                recording_path = str(media.recording.path)
        if self._timer is not None:
            self._timer.cancel()
        self._host.write(
            self.call_id,
            "stream_ended",
            {
                "how": self._end.how,
                "close_code": self._end.close_code,
                "by": self._end.by,
                "reason": self._end.reason,
                "duration_ms": self._duration_ms,
                "stats": self.stats.as_dict(),
                "recording_path": recording_path,
            },
        )
        self._log.info("stream ended", how=self._end.how, by=self._end.by, reason=self._end.reason)
        self._host.session_over(self)


def _with_numbers(facts: CallFacts, started: StreamStarted) -> CallFacts:
    """Fill numbers that no webhook brought from what the stream says.

    Static URLs name them as parameters: ``<Parameter name="from_number" value="{{From}}"/>``.
    """
    return msgspec.structs.replace(
        facts,
        from_number=facts.from_number
        or started.from_number
        or started.parameters.get("from_number", ""),
        to_number=facts.to_number or started.to_number or started.parameters.get("to_number", ""),
    )
