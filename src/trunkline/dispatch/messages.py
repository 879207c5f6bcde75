"""Every message between front, gateway, pool, zygote and worker: one class each.

On a channel a message is one kind byte and a payload (``channel.py`` frames it). Audio payloads are
raw bytes in the carrier's own encoding; everything else is msgpack of one class below. The
docstring says who sends it to whom and when. Kinds are never reused; a field is only ever added
with a default, so that processes of two versions can talk.
"""

from __future__ import annotations

from typing import ClassVar

import msgspec

from trunkline.audio import MediaFormat
from trunkline.errors import ChannelError

__all__ = [
    "CHANNEL_VERSION",
    "KIND_AUDIO_IN",
    "KIND_AUDIO_OUT",
    "MESSAGES",
    "AgentSpec",
    "BotFinished",
    "BotStarted",
    "CallFacts",
    "CallStarted",
    "Checkpoint",
    "Claim",
    "ClearAudio",
    "ControlRefused",
    "DtmfPressed",
    "EndCall",
    "Forget",
    "GatewayCommand",
    "Handover",
    "HandoverAnswer",
    "Heartbeat",
    "Hello",
    "JournalAck",
    "JournalEntry",
    "LookUp",
    "LookedUp",
    "MarkReached",
    "Message",
    "PlayMark",
    "Played",
    "PoolState",
    "PoolStateRequest",
    "Prepare",
    "Prepared",
    "Refused",
    "Release",
    "Reserve",
    "Reserved",
    "SessionEnding",
    "SpeechStarted",
    "SpeechStopped",
    "SpokenText",
    "TranscriptLine",
    "UtteranceEnd",
    "ZygoteEnd",
    "ZygoteExited",
    "ZygoteFailed",
    "ZygoteFork",
    "ZygoteForked",
    "ZygoteReady",
    "ZygoteRetire",
    "ZygoteStart",
    "decode",
    "encode",
]

CHANNEL_VERSION = 1

KIND_AUDIO_IN = 1
"""Gateway → worker: payload is caller audio in the stream's received format, one frame, no
header."""

KIND_AUDIO_OUT = 2
"""Worker → gateway: payload is u32 utterance, u32 offset_ms (both big-endian), then audio in the
stream's sent format."""


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Abstract.

    ``KIND`` is the byte on the wire.
    """

    KIND: ClassVar[int]


# --- data that messages carry
# ---------------------------------------------------------------------------------------


class AgentSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What dispatch and worker need to know of an agent's row.

    No credential of a carrier is ever in it.
    """

    name: str
    kind: str
    """``pipeline`` or ``module``."""

    revision: int = 1
    """Counts the agent's changes: a new revision gets new workers."""

    pipeline: dict[str, object] | None = None
    """The row's pipeline settings (``trunkline.bots.pipeline`` validates them)."""

    module: str | None = None
    """``path/to/bot.py`` or ``path/to/bot.py:function``, absolute."""

    present_as: str | None = None
    """Carrier whose protocol an unchanged bot is shown; None: the real one."""

    warm: int | None = None
    """Warm workers to keep; None: the pool's default."""

    max_loop_block_s: float = 10.0

    @property
    def zygote_key(self) -> tuple[str, str, int]:
        """Agents with equal keys can share a zygote."""
        return (self.name, self.kind, self.revision)


class CallFacts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the front knows of a call when its socket is handed over.

    The gateway needs no database.
    """

    call_id: str
    carrier: str
    direction: str
    agent: AgentSpec
    from_number: str = ""
    to_number: str = ""
    account_id: str = ""
    carrier_call_id: str | None = None
    """None where it is known only at the stream's ``start`` (static URLs, outbound with inline
    markup)."""

    body: object = None
    """Custom data exactly as sent: any JSON value."""

    parameters: dict[str, str] = {}
    caller_lookup: bool = False
    """Ask the front (``LookUp``) for the caller by the carrier's REST API when ``start`` brings no
    numbers."""

    max_duration_s: float = 7200.0
    silence_timeout_s: float = 0.0
    """Hang up when neither side has spoken for so long; 0: never."""

    start_timeout_s: float = 5.0
    """No ``start`` within this ends the stream."""

    lead_ms: int = 400
    """Audio sent ahead into the carrier's buffer at most."""
    record: bool = True
    recording_path: str | None = None
    """Absolute path of the WAV file to write."""

    stream_options: dict[str, str] = {}
    """What the carrier's protocol core must know of the account, such as a byte order."""

    stream_number: int = 1
    """Counts the streams of one call, from 1."""


# --- front → gateway: SEQPACKET with one descriptor, answered on the same socket
# -----------------------------------


class Handover(Message, frozen=True, kw_only=True, omit_defaults=True):
    """Front → gateway, with the open socket's descriptor: this call's stream is yours."""

    KIND: ClassVar[int] = 10
    version: int = CHANNEL_VERSION
    handover_id: int
    head: bytes
    """Canonical HTTP upgrade head, then whatever bytes had been read after it."""

    facts: CallFacts


class HandoverAnswer(Message, frozen=True, kw_only=True, omit_defaults=True):
    """Gateway → front: the socket was taken, or not.

    ``error`` is empty when it was; else the front still owns its own copy.
    """

    KIND: ClassVar[int] = 11

    handover_id: int
    error: str = ""
    calls: int = 0
    """Calls on this gateway now, so that the front can pick the least loaded."""


# --- front ↔ gateway: control channel (stream socket)
# ---------------------------------------------------------------


class Hello(Message, frozen=True, kw_only=True, omit_defaults=True):
    """First message in each direction of every channel.

    ``sender`` names the process for logs.
    """

    KIND: ClassVar[int] = 3

    version: int = CHANNEL_VERSION
    sender: str = ""
    calls: list[str] = []
    """Gateway → front: ids of the calls that are live on it now."""


class GatewayCommand(Message, frozen=True, kw_only=True, omit_defaults=True):
    """Front → gateway: do something to a live call.

    ``action``: ``end`` (by, reason), ``drop`` (close at once).
    """

    KIND: ClassVar[int] = 12

    request_id: int
    call_id: str
    action: str
    by: str = "api"
    reason: str = "completed"


class ControlRefused(Message, frozen=True, kw_only=True, omit_defaults=True):
    """Gateway → front: answer to a ``GatewayCommand``.

    ``error`` is empty when it was carried out.
    """

    KIND: ClassVar[int] = 13

    request_id: int
    error: str = ""


class JournalEntry(Message, frozen=True, kw_only=True, omit_defaults=True):
    """Gateway → front: a fact about a call, kept on disk until acknowledged.

    (gateway, segment, number) is its key; the front inserts key and effect in one transaction, so
    a repeat is harmless. ``kind`` and ``data`` (all times ``*_ms`` since the stream's start unless
    said otherwise; ``at`` is Unix seconds):

    - ``stream_started``: stream_id, carrier_call_id, account_id, from_number, to_number,
      parameters, raw, received_encoding, received_rate_hz, sent_encoding, sent_rate_hz,
      stream_number
    - ``bot_started``: worker_id, attempt, wait_ms (stream start → bot started)
    - ``turn``: speaker (``caller``/``bot``), text, started_ms, ended_ms, interrupted, heard_text
      (bot: what was played), latency_ms (bot: caller's speech end → first bot audio on the wire,
      measured by the gateway; absent otherwise)
    - ``dtmf``: digit, at_ms
    - ``bot_failed``: reason (``died``, ``hung``, ``raised``, ``no_worker``), detail (exception
      class, exit status), attempt
    - ``hangup_wanted``: by, reason. Queued speech has been played; the front ends the leg by REST
      now.
    - ``stream_ended``: how (``stop``, ``closed``, ``lost``, ``replaced``, ``never_started``,
      ``gateway_lost``, ``dropped``), close_code, by, reason (empty when only the carrier can
      tell), duration_ms, stats (see ``gateway.session.Stats``), recording_path
    """

    KIND: ClassVar[int] = 14

    gateway: str
    segment: int
    number: int
    call_id: str
    kind: str
    at: float
    data: dict[str, object] = {}


class JournalAck(Message, frozen=True, kw_only=True, omit_defaults=True):
    """Front → gateway: entries of that gateway and segment up to ``number`` are safe."""

    KIND: ClassVar[int] = 15

    gateway: str
    segment: int
    number: int


class LookUp(Message, frozen=True, kw_only=True, omit_defaults=True):
    """Gateway → front: who is on this call?

    Sent at ``start`` when ``facts.caller_lookup`` is set and no number is known.

    Answered by ``LookedUp``; without an answer within 2 s the call goes on without numbers.
    """

    KIND: ClassVar[int] = 16

    request_id: int
    call_id: str
    carrier_call_id: str


class LookedUp(Message, frozen=True, kw_only=True, omit_defaults=True):
    """Front → gateway: the numbers, empty when the carrier could not be asked."""

    KIND: ClassVar[int] = 17

    request_id: int
    from_number: str = ""
    to_number: str = ""


# --- gateway ↔ worker
# -----------------------------------------------------------------------------------------------


class CallStarted(Message, frozen=True, kw_only=True, omit_defaults=True):
    """Gateway → worker, after Hello: the stream has started, run the agent."""

    KIND: ClassVar[int] = 20

    facts: CallFacts
    stream_id: str
    carrier_call_id: str
    received_format: MediaFormat
    sent_format: MediaFormat
    parameters: dict[str, str] = {}
    raw_start: dict[str, object] = {}
    """The carrier's start message as parsed, for bots that speak the carrier's protocol."""

    attempt: int = 1
    """2 and up: a replacement after a worker failed."""
    history: list[dict[str, object]] = []
    """Last checkpoint of the conversation, for a replacement."""


class SpeechStarted(Message, frozen=True, kw_only=True, omit_defaults=True):
    """Gateway → worker: the detector decided that the caller speaks.

    Ordered with audio.
    """

    KIND: ClassVar[int] = 21

    at_ms: int


class SpeechStopped(Message, frozen=True, kw_only=True, omit_defaults=True):
    """Gateway → worker: the detector decided that the caller has stopped.

    ``at_ms`` is the decision's media time.
    """

    KIND: ClassVar[int] = 22

    at_ms: int


class DtmfPressed(Message, frozen=True, kw_only=True, omit_defaults=True):
    """Gateway → worker: one key."""

    KIND: ClassVar[int] = 23

    digit: str


class Played(Message, frozen=True, kw_only=True, omit_defaults=True):
    """Gateway → worker: of ``utterance`` so much has been played to the caller.

    Every 100 ms while something plays, at each mark, at its end (``done``), and once after a clear
    (``cleared``: nothing more of it will be played).
    """

    KIND: ClassVar[int] = 24

    utterance: int
    played_ms: int
    done: bool = False
    cleared: bool = False


class MarkReached(Message, frozen=True, kw_only=True, omit_defaults=True):
    """Gateway → worker: what came before the ``PlayMark`` of that name was played.

    Or it was flushed by a clear.
    """

    KIND: ClassVar[int] = 25

    name: str
    cleared: bool = False


class SessionEnding(Message, frozen=True, kw_only=True, omit_defaults=True):
    """Gateway → worker: the call is over for the bot; finish.

    ``reason``: ``stop``, ``lost``, ``ended`` or ``drop``.
    """

    KIND: ClassVar[int] = 26

    reason: str


class BotStarted(Message, frozen=True, kw_only=True, omit_defaults=True):
    """Worker → gateway: the pipeline runs (module bots: ``bot()`` was called)."""

    KIND: ClassVar[int] = 30


class UtteranceEnd(Message, frozen=True, kw_only=True, omit_defaults=True):
    """Worker → gateway: no more audio will come for this utterance."""

    KIND: ClassVar[int] = 31

    utterance: int


class ClearAudio(Message, frozen=True, kw_only=True, omit_defaults=True):
    """Worker → gateway, in order with audio: drop what has not been played."""

    KIND: ClassVar[int] = 32


class PlayMark(Message, frozen=True, kw_only=True, omit_defaults=True):
    """Worker → gateway, in order with audio: say when what came before was played.

    The answer is ``MarkReached``.
    """

    KIND: ClassVar[int] = 33

    name: str


class SpokenText(Message, frozen=True, kw_only=True, omit_defaults=True):
    """Worker → gateway: ``text`` belongs to ``utterance`` and starts at ``offset_ms`` in it.

    It is a word or a sentence.
    """

    KIND: ClassVar[int] = 34

    utterance: int
    offset_ms: int
    text: str


class TranscriptLine(Message, frozen=True, kw_only=True, omit_defaults=True):
    """Worker → gateway: one finished turn of the conversation, for the record.

    ``heard_text`` of a bot's turn is what was played of ``text``. ``utterances`` are the ones that
    make up a bot's turn.
    """

    KIND: ClassVar[int] = 35

    speaker: str
    text: str
    heard_text: str | None = None
    interrupted: bool = False
    utterances: list[int] = []


class Checkpoint(Message, frozen=True, kw_only=True, omit_defaults=True):
    """Worker → gateway, after each turn: the conversation so far.

    A replacement gets it as ``history``.
    """

    KIND: ClassVar[int] = 36

    messages: list[dict[str, object]]


class EndCall(Message, frozen=True, kw_only=True, omit_defaults=True):
    """Worker → gateway: the bot wants the call to end once what was sent has been played."""

    KIND: ClassVar[int] = 37

    reason: str = "completed"


class Heartbeat(Message, frozen=True, kw_only=True, omit_defaults=True):
    """Worker → gateway, every second, from a thread: alive.

    ``loop_lag_ms`` has passed since the event loop last turned.
    """

    KIND: ClassVar[int] = 38

    loop_lag_ms: int = 0


class BotFinished(Message, frozen=True, kw_only=True, omit_defaults=True):
    """Worker → gateway, last message: ``bot()`` returned or raised.

    ``error`` is empty, or names the exception's class and sentence.
    """

    KIND: ClassVar[int] = 39

    error: str = ""


# --- front, gateway → pool (in the supervisor)
# ----------------------------------------------------------------------


class Reserve(Message, frozen=True, kw_only=True, omit_defaults=True):
    """Front → pool: have a worker ready for this call.

    Answered by Reserved (the worker is ready) or Refused.     Idempotent per call. The reservation
    lapses after ``expires_s`` unless claimed.
    """

    KIND: ClassVar[int] = 40

    request_id: int
    call_id: str
    agent: AgentSpec
    expires_s: float = 30.0


class Claim(Message, frozen=True, kw_only=True, omit_defaults=True):
    """Gateway → pool: the stream has started, give me the call's worker.

    A new one when ``attempt`` is above 1.
    """

    KIND: ClassVar[int] = 41

    request_id: int
    call_id: str
    agent: AgentSpec
    attempt: int = 1


class Reserved(Message, frozen=True, kw_only=True, omit_defaults=True):
    """Pool → front or gateway: the worker's Unix socket.

    ``cold``: it had to be made for this call.
    """

    KIND: ClassVar[int] = 42

    request_id: int
    call_id: str
    worker_id: str
    address: str
    cold: bool = False


class Refused(Message, frozen=True, kw_only=True, omit_defaults=True):
    """Pool → front or gateway: no worker.

    ``code`` is an error code of ``trunkline.errors``.
    """

    KIND: ClassVar[int] = 43

    request_id: int
    code: str
    reason: str


class Release(Message, frozen=True, kw_only=True, omit_defaults=True):
    """Front → pool: the call will have no stream (never answered, refused).

    The worker goes back to the warm ones.
    """

    KIND: ClassVar[int] = 44

    call_id: str


class Prepare(Message, frozen=True, kw_only=True, omit_defaults=True):
    """Front → pool: load this agent and keep it warm.

    Its module is imported, its services are built once.

    Sent for each enabled agent at start and whenever one is saved. Answered by Prepared or Refused.
    """

    KIND: ClassVar[int] = 45

    request_id: int
    agent: AgentSpec
    check_only: bool = False
    """Load it in a throw-away zygote to see whether it can be loaded; keep nothing."""


class Prepared(Message, frozen=True, kw_only=True, omit_defaults=True):
    """Pool → front: the agent's zygote is up."""

    KIND: ClassVar[int] = 46
    request_id: int
    warnings: list[str] = []
    """Such as: the module starts threads and is therefore started cold."""


class Forget(Message, frozen=True, kw_only=True, omit_defaults=True):
    """Front → pool: the agent is disabled or gone; end its idle workers and its zygote.

    Live calls go on.
    """

    KIND: ClassVar[int] = 49

    name: str


class PoolStateRequest(Message, frozen=True, kw_only=True, omit_defaults=True):
    """Front → pool: how are you?"""

    KIND: ClassVar[int] = 47

    request_id: int


class PoolState(Message, frozen=True, kw_only=True, omit_defaults=True):
    """Pool → front.

    ``agents``: name → {warm, reserved, busy, target, cold_starts, failures, zygote_pid}.
    """

    KIND: ClassVar[int] = 48

    request_id: int
    agents: dict[str, dict[str, int]] = {}


# --- pool ↔ zygote
# --------------------------------------------------------------------------------------------------


class ZygoteReady(Message, frozen=True, kw_only=True, omit_defaults=True):
    """Zygote → pool, once: everything is imported and built; forks may be asked for."""

    KIND: ClassVar[int] = 60

    threads: int = 1
    warnings: list[str] = []
    cold: bool = False
    """The agent cannot be forked (its module starts threads): each worker is a fresh process that
    takes seconds."""


class ZygoteFailed(Message, frozen=True, kw_only=True, omit_defaults=True):
    """Zygote → pool, once, then it exits: the agent cannot be loaded.

    ``code`` is an error code; never a secret.
    """

    KIND: ClassVar[int] = 61

    code: str
    reason: str


class ZygoteFork(Message, frozen=True, kw_only=True, omit_defaults=True):
    """Pool → zygote: fork a worker that listens at ``address``.

    The zygote binds it before it forks.
    """

    KIND: ClassVar[int] = 62

    worker_id: str
    address: str


class ZygoteForked(Message, frozen=True, kw_only=True, omit_defaults=True):
    """Zygote → pool: it listens; a connection will be served."""

    KIND: ClassVar[int] = 63

    worker_id: str
    pid: int


class ZygoteExited(Message, frozen=True, kw_only=True, omit_defaults=True):
    """Zygote → pool: a worker was reaped.

    ``status`` is the exit code, negative for a signal.
    """

    KIND: ClassVar[int] = 64

    worker_id: str
    pid: int
    status: int


class ZygoteStart(Message, frozen=True, kw_only=True, omit_defaults=True):
    """Pool → base zygote: fork a zygote for this agent.

    It connects to the Unix socket ``address``, where the pool waits, and says ZygoteReady or
    ZygoteFailed there. Its end is told by ZygoteExited with ``zygote_id`` as ``worker_id``.
    """

    KIND: ClassVar[int] = 65

    zygote_id: str
    agent: AgentSpec
    address: str


class ZygoteEnd(Message, frozen=True, kw_only=True, omit_defaults=True):
    """Pool → zygote: end the child of that id.

    Only its parent can, without a race for the process id. A worker that has its call finishes
    it all the same, unless ``force``.
    """

    KIND: ClassVar[int] = 66

    worker_id: str
    force: bool = False


class ZygoteRetire(Message, frozen=True, kw_only=True, omit_defaults=True):
    """Pool → zygote: fork no more, and exit once the last worker has been reaped."""

    KIND: ClassVar[int] = 67


MESSAGES: dict[int, type[Message]] = {
    kind.KIND: kind
    for kind in (
        Hello, Handover, HandoverAnswer, GatewayCommand, ControlRefused, JournalEntry, JournalAck,
        LookUp, LookedUp, CallStarted, SpeechStarted, SpeechStopped, DtmfPressed, Played,
        MarkReached, SessionEnding, BotStarted, UtteranceEnd, ClearAudio, PlayMark, SpokenText,
        TranscriptLine, Checkpoint, EndCall, Heartbeat, BotFinished, Reserve, Claim, Reserved,
        Refused, Release, Prepare, Prepared, Forget, PoolStateRequest, PoolState, ZygoteReady,
        ZygoteFailed, ZygoteFork, ZygoteForked, ZygoteExited, ZygoteStart, ZygoteEnd,
        ZygoteRetire,
    )
}  # fmt: skip
"""Kind byte → class."""

_ENCODER = msgspec.msgpack.Encoder()
_DECODERS = {kind: msgspec.msgpack.Decoder(cls) for kind, cls in MESSAGES.items()}


def encode(message: Message) -> bytes:
    """The payload of ``message``, without length and kind."""
    return _ENCODER.encode(message)


def decode(kind: int, payload: bytes | memoryview) -> Message:
    """The message of that kind.

    Raises:
        ChannelError: unknown kind, or a payload that is not that message.
    """
    decoder = _DECODERS.get(kind)
    if decoder is None:
        raise ChannelError(f"unknown message kind {kind}")
    try:
        return decoder.decode(payload)
    except msgspec.MsgspecError as error:
        raise ChannelError(f"message of kind {kind} cannot be read") from error
