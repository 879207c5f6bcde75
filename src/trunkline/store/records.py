"""What the store keeps, as plain frozen records, and the ``Store`` protocol.

Times are timezone-aware UTC. Ids of calls are UUID4 text, which Pipecat bots see as ``session_id``
as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from trunkline.telephony.call import CallState, Direction, EndedBy, EndReason

__all__ = [
    "AgentKind",
    "AgentRecord",
    "ApiKeyRecord",
    "CallFilter",
    "CallPage",
    "CallRecord",
    "CarrierSettings",
    "EventRecord",
    "NewEvent",
    "Overflow",
    "OverflowAction",
    "Role",
    "SlotRequest",
    "Store",
]


class AgentKind(StrEnum):
    """What an agent is made of."""

    """What an agent is made of."""

    PIPELINE = "pipeline"
    """Prompt, greeting and services by name."""

    MODULE = "module"
    """A Pipecat bot file."""


class OverflowAction(StrEnum):
    """What a caller gets when there is no slot or no worker."""

    BUSY = "busy"
    MESSAGE = "message"
    FORWARD = "forward"


@dataclass(frozen=True, slots=True, kw_only=True)
class Overflow:
    """An agent's overflow, with what it needs."""

    """What a caller gets whom no bot can answer now."""

    action: OverflowAction = OverflowAction.BUSY
    message: str | None = None
    """Spoken with the carrier's voice, for ``message``."""

    number: str | None = None
    """E.164, for ``forward``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentRecord:
    """A named bot configuration."""

    """A named bot configuration."""

    name: str
    """Unique; ``[a-z0-9][a-z0-9-]{0,62}``, since it stands in URLs."""

    kind: AgentKind
    enabled: bool = True
    pipeline: Mapping[str, object] | None = None
    """For ``pipeline``: see ``trunkline.bots.pipeline.PipelineSettings``."""

    module: str | None = None
    """For ``module``: ``path/to/bot.py[:function]``."""

    present_as: str | None = None
    overflow: Overflow = field(default_factory=Overflow)
    max_concurrent_calls: int | None = None
    """None: only carrier and machine limit it."""

    max_duration_s: int = 7200
    silence_timeout_s: int = 0
    record: bool = True
    caller_lookup: bool = False
    """Ask the carrier's REST API about the call before the bot starts."""

    warm: int | None = None
    max_loop_block_s: float = 10.0
    revision: int = 1
    """Counts changes; set by the store."""

    created_at: datetime | None = None
    updated_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRecord:
    """One call: who, when, how it stands, how it ended."""

    """One leg at one carrier, from its first sign to its end."""

    id: str
    carrier: str
    account_id: str
    direction: Direction
    agent_name: str
    from_number: str
    to_number: str
    state: CallState
    created_at: datetime
    carrier_call_id: str | None = None
    body: object = None
    """Custom data exactly as sent: any JSON value."""

    idempotency_key: str | None = None
    answered_at: datetime | None = None
    stream_started_at: datetime | None = None
    ended_at: datetime | None = None
    duration_s: float | None = None
    """Answer to end, as the carrier says where it does."""

    ended_by: EndedBy | None = None
    end_reason: EndReason | None = None
    answered_by: str | None = None
    """AMD's verdict, neutral."""

    last_sequence: int | None = None
    """Highest status-callback sequence applied."""

    recording_path: str | None = None
    stats: Mapping[str, object] = field(default_factory=dict[str, object])
    """Counters of the media stream, from the gateway."""

    error: str | None = None
    """One sentence for people when something failed."""

    hangup_pending: bool = False
    """The carrier's leg may still be up and has to be ended by REST until the carrier confirms."""

    raw: Mapping[str, object] = field(default_factory=dict[str, object])
    """The carrier's own first description of the call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEvent:
    """A fact to append to a call.

    ``key`` makes it happen once: the call's second event of that key changes nothing.
    """

    call_id: str
    kind: str
    at: datetime
    data: Mapping[str, object] = field(default_factory=dict[str, object])
    key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRecord:
    """A fact about a call, as it was appended."""

    id: int
    """Rises within the whole store.

    One call's events appear in this order, so an SSE client resumes after it.
    """

    call_id: str
    kind: str
    at: datetime
    data: Mapping[str, object] = field(default_factory=dict[str, object])


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFilter:
    """Which calls to list; what is None or empty does not matter."""

    """Which calls to list; None and empty mean: any."""

    agent_name: str | None = None
    carrier: str | None = None
    direction: Direction | None = None
    states: Sequence[CallState] = ()
    from_number: str | None = None
    to_number: str | None = None
    created_after: datetime | None = None
    """This moment included."""

    created_before: datetime | None = None
    """This moment left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallPage:
    """One page of calls."""

    """Some calls, and where the next ones begin."""

    calls: Sequence[CallRecord]
    """Newest first."""

    next_cursor: str | None
    """Opaque; None on the last page."""


class Role(StrEnum):
    """What an API key may do; each role includes the ones below it."""

    ADMIN = "admin"
    OPERATOR = "operator"
    VIEWER = "viewer"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKeyRecord:
    """An API key without the key: only its digest is kept."""

    """Who may use the API. The key itself is nowhere stored."""

    id: str
    name: str
    role: Role
    digest: str
    """SHA-256 of the key, hex.

    Keys are 256 random bits, so a slow hash would add nothing.
    """

    created_at: datetime
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CarrierSettings:
    """Stored settings of one carrier; None means: the environment decides."""

    carrier: str
    credentials: bytes | None = None
    """Encrypted JSON of the account's fields (``calls.secrets``); the store never sees it in
    clear."""

    max_concurrent_calls: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotRequest:
    """One scope to take a slot in: ``carrier:NAME``, ``agent:NAME`` or ``machine``.

    Its limit is None where there is none.
    """

    scope: str
    limit: int | None


class Store(Protocol):
    """All queries.

    Each method is one transaction. Each may raise ``StoreUnavailable``, and ``InvalidRequest``
    for text that no database holds (NUL, half surrogates).
    """

    # agents

    async def create_agent(self, agent: AgentRecord) -> AgentRecord:
        """Raises ``Conflict`` when the name is taken."""
        ...

    async def update_agent(self, agent: AgentRecord) -> AgentRecord:
        """Replace the row, count its revision up.

        Raises ``UnknownAgent``.
        """
        ...

    async def delete_agent(self, name: str) -> None:
        """Raises ``UnknownAgent``.

        Calls keep the name.
        """
        ...

    async def fetch_agent(self, name: str) -> AgentRecord | None:
        """The agent of that name, enabled or not."""
        ...

    async def fetch_agents(self) -> Sequence[AgentRecord]:
        """All, by name."""
        ...

    # calls and slots

    async def admit_call(
        self, call: CallRecord, slots: Sequence[SlotRequest]
    ) -> tuple[CallRecord, bool]:
        """Write the call and take one slot in every scope, or none.

        Idempotent on (carrier, account_id, carrier_call_id) where the latter is set, and on
        idempotency_key: the call that is already there is returned. The flag says whether this
            call made it.

        Raises:
            Conflict: there is a different call of that id.
            NoFreeSlot: a scope is full; nothing was written. ``scope``, ``limit`` and ``in_use``
                say which.
        """
        ...

    async def free_slots(self, call_id: str) -> bool:
        """Give the call's slots back.

        Idempotent; True when there were some.
        """
        ...

    async def count_slots(self) -> Mapping[str, int]:
        """Scope → slots in use, scopes without any left out."""
        ...

    async def fetch_call(self, call_id: str) -> CallRecord | None:
        """The call of our id."""
        ...

    async def fetch_call_by_carrier_id(
        self, carrier: str, account_id: str, carrier_call_id: str
    ) -> CallRecord | None:
        """The call that the account's carrier knows by that id."""
        ...

    async def fetch_call_by_idempotency_key(self, key: str) -> CallRecord | None:
        """The call that was admitted with that key."""
        ...

    async def fetch_calls(
        self, where: CallFilter, *, limit: int, cursor: str | None = None
    ) -> CallPage:
        """Keyset pages by (created_at, id), newest first.

        Raises ``InvalidRequest`` for a bad cursor or limit.
        """
        ...

    async def fetch_open_calls(self) -> Sequence[CallRecord]:
        """Calls whose state is not final, or whose hang-up is pending; oldest first."""
        ...

    async def change_call(
        self,
        call_id: str,
        changes: Mapping[str, object],
        *,
        events: Sequence[NewEvent] = (),
        only_if_state: Sequence[CallState] | None = None,
    ) -> CallRecord | None:
        """Set fields of ``CallRecord`` and append events in one transaction.

        Returns the call as it then is, or None when nothing was done: there is no such call, its
        state is not in ``only_if_state``, or the first event's key is already there (it was done
        before). Later events whose key is there are left out.

        Raises:
            Conflict: another call has the new carrier_call_id or idempotency_key.
        """
        ...

    # events
    async def append_event(self, event: NewEvent) -> EventRecord | None:
        """None when its key is already there.

        Raises ``UnknownCall``.
        """
        ...

    async def fetch_events(
        self,
        call_id: str,
        *,
        after_id: int = 0,
        kinds: Sequence[str] | None = None,
        limit: int = 1000,
    ) -> Sequence[EventRecord]:
        """The call's events after ``after_id``, of those kinds or all, by id."""
        ...

    # keys and settings

    async def create_api_key(self, key: ApiKeyRecord) -> None:
        """Raises ``Conflict`` when its id or digest is taken."""
        ...

    async def fetch_api_key(self, digest: str) -> ApiKeyRecord | None:
        """The key with that digest unless it is revoked."""
        ...

    async def fetch_api_keys(self) -> Sequence[ApiKeyRecord]:
        """All, revoked ones too, oldest first."""
        ...

    async def revoke_api_key(self, key_id: str) -> bool:
        """True when it was valid until now."""
        ...

    async def touch_api_key(self, key_id: str, at: datetime) -> None:
        """Note its use; an earlier ``at`` than the one stored changes nothing."""
        ...

    async def fetch_carrier_settings(self) -> Sequence[CarrierSettings]:
        """All, by carrier."""
        ...

    async def save_carrier_settings(self, settings: CarrierSettings) -> None:
        """Replace what is stored for the carrier."""
        ...

    async def fetch_setting(self, name: str) -> str | None:
        """The text stored under that name."""
        ...

    async def save_setting(self, name: str, value: str | None) -> None:
        """None removes it."""
        ...

    async def check(self) -> None:
        """One trivial query; raises ``StoreUnavailable``."""
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...
