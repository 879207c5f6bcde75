"""What a session needs of the gateway that owns it."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from typing import TYPE_CHECKING, Protocol

from trunkline.dispatch.pool_client import PoolClient
from trunkline.gateway.recorder import Recorder
from trunkline.gateway.vad import SpeechDetector

if TYPE_CHECKING:
    from trunkline.gateway.session import Session

__all__ = ["Host"]


class Host(Protocol):
    """What a session needs of its gateway."""

    name: str
    pool: PoolClient
    recorder: Recorder
    detector: SpeechDetector | None

    def spawn(self, work: Coroutine[object, object, None]) -> None:
        """Run ``work`` as a task that the gateway owns."""
        ...

    def write(self, call_id: str, kind: str, data: Mapping[str, object]) -> None:
        """Append to the journal."""
        ...

    def stream_started(self, session: Session) -> Session | None:
        """Make this the call's stream; returns the one that it replaces."""
        ...

    async def look_up(self, call_id: str, carrier_call_id: str) -> tuple[str, str]:
        """Ask the front for (from_number, to_number); empty when it does not know in time."""
        ...

    def session_over(self, session: Session) -> None:
        """The session has written its last entry."""
        ...
