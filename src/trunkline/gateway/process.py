"""A gateway process: ``python -m trunkline.gateway --index N``.

SIGTERM drains: no new calls, and the process ends with its last one. A second SIGTERM ends the live
ones at once.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence

import structlog

from trunkline import carriers
from trunkline.dispatch.messages import (
    GatewayCommand,
    Handover,
    HandoverAnswer,
    JournalAck,
    JournalEntry,
)
from trunkline.dispatch.output import configure_logging
from trunkline.dispatch.pool_client import PoolClient
from trunkline.dispatch.unix_socket import prepare_folder
from trunkline.errors import DispatchError, ProtocolError, TrunklineError, UnknownCall
from trunkline.gateway.control import ControlServer, HandoverServer
from trunkline.gateway.journal import Journal
from trunkline.gateway.recorder import Recorder
from trunkline.gateway.session import Session
from trunkline.gateway.vad import SpeechDetector
from trunkline.gateway.websocket import GatewayLoop, adopt
from trunkline.settings import Settings

__all__ = ["Gateway", "main"]

log = structlog.get_logger(__name__)

_SWITCH_INTERVAL_S = 0.0005


class Gateway:
    """Owns the sessions of one process, and what they share.

    Args:
        settings: Where sockets, journal and pool are.
        index: Number of this gateway on its machine, from 0.
        detects_speech: Run the speech detector; without it the bots get no speech events.
    """

    def __init__(self, settings: Settings, index: int, *, detects_speech: bool = True) -> None:
        self.name = f"gateway-{index}"
        self.pool = PoolClient(settings.pool_socket, sender=self.name)
        self.recorder = Recorder()
        self.detector = SpeechDetector() if detects_speech else None
        self._settings = settings
        self._index = index
        self._sessions: set[Session] = set()
        self._by_call: dict[str, Session] = {}
        self._control = ControlServer(settings.control_socket(index), self)
        self._journal = Journal(settings.journal_dir / self.name, self.name, self._control.push)
        self._handover: HandoverServer | None = None
        self._tasks: asyncio.TaskGroup | None = None
        self._is_draining = False
        self._idle = asyncio.Event()

    # Host of the sessions

    def spawn(self, work: Coroutine[object, object, None]) -> None:
        """Run ``work`` as a task of ours; what it raises is logged and ends nothing else."""
        if self._tasks is None:
            work.close()
            raise RuntimeError("the gateway does not run")
        self._tasks.create_task(self._guard(work))

    async def _guard(self, work: Coroutine[object, object, None]) -> None:
        try:
            await work
        except Exception:
            log.exception("task failed")

    def write(self, call_id: str, kind: str, data: Mapping[str, object]) -> None:
        """Append to the journal."""
        self._journal.append(call_id, kind, data)

    def stream_started(self, session: Session) -> Session | None:
        """Make this the call's stream; returns the live one that it replaces."""
        previous = self._by_call.get(session.call_id)
        self._by_call[session.call_id] = session
        return previous if previous is not session else None

    def session_over(self, session: Session) -> None:
        """The session has written its last entry."""
        self._sessions.discard(session)
        if self._by_call.get(session.call_id) is session:
            del self._by_call[session.call_id]
            self.spawn(self._release_worker(session.call_id))
        if self._is_draining and not self._sessions:
            self._idle.set()

    async def _release_worker(self, call_id: str) -> None:
        """A worker ends by itself when its channel is closed; the pool sees to one that hangs."""
        try:
            await self.pool.release(call_id)
        except DispatchError as error:
            log.warning("pool not told of a call's end", call_id=call_id, reason=error.reason)

    async def look_up(self, call_id: str, carrier_call_id: str) -> tuple[str, str]:
        """Ask the front for (from_number, to_number); empty when it does not know in time."""
        return await self._control.look_up(call_id, carrier_call_id)

    # the doors

    def take_over(
        self, handover: Handover, sock: socket.socket, answer: Callable[[HandoverAnswer], None]
    ) -> None:
        """Make a session of a socket, and answer."""
        if self._is_draining:
            sock.close()
            answer(
                HandoverAnswer(
                    handover_id=handover.handover_id, error="draining", calls=len(self._sessions)
                )
            )
            return
        self.spawn(self._adopt(handover, sock, answer))

    async def _adopt(
        self, handover: Handover, sock: socket.socket, answer: Callable[[HandoverAnswer], None]
    ) -> None:
        error = ""
        try:
            session = Session(handover.facts, carriers.get(handover.facts.carrier), self)
            self._sessions.add(session)
            try:
                await adopt(sock, handover.head, session)
            except (OSError, ProtocolError):
                self.session_over(session)
                raise
        except TrunklineError as refused:
            sock.close()
            error = refused.code
        except OSError:
            error = "socket_gone"
        if error:
            log.warning("socket not adopted", call_id=handover.facts.call_id, error=error)
        answer(
            HandoverAnswer(handover_id=handover.handover_id, error=error, calls=len(self._sessions))
        )

    def command(self, command: GatewayCommand) -> str:
        """Carry out a front's command.

        Raises:
            UnknownCall: no live stream of that call is here.
        """
        session = self._by_call.get(command.call_id)
        if session is None or not session.is_live:
            raise UnknownCall(command.call_id)
        if command.action == "end":
            session.end(command.by, command.reason)
        elif command.action == "drop":
            session.drop()
        else:
            return "invalid_request"
        return ""

    def live_calls(self) -> Sequence[str]:
        """Calls whose stream is here."""
        return [call_id for call_id, session in self._by_call.items() if session.is_live]

    def unacknowledged(self) -> Iterable[JournalEntry]:
        """Entries that a front may not have."""
        return self._journal.unacknowledged()

    def acknowledge(self, ack: JournalAck) -> None:
        """A front has entries of ours."""
        if ack.gateway == self.name:
            self._journal.acknowledge(ack.segment, ack.number)

    # life

    async def run(self, on_ready: Callable[[], None] | None = None) -> None:
        """Serve until drained."""
        prepare_folder(self._settings.run_dir)
        try:
            async with asyncio.TaskGroup() as self._tasks:
                pool = self._tasks.create_task(self.pool.run())
                await self._control.start()
                self._handover = HandoverServer(self._settings.handover_socket(self._index), self)
                gc.collect()
                gc.freeze()
                log.info("gateway is ready", gateway=self.name)
                if on_ready is not None:
                    on_ready()
                await self._idle.wait()
                pool.cancel()
        finally:
            await self._close()

    def drain(self) -> None:
        """Take no new calls and end with the last one; the second time, end the live ones."""
        if self._is_draining:
            for session in list(self._sessions):
                session.drop()
        self._is_draining = True
        log.info("gateway drains", gateway=self.name, calls=len(self._sessions))
        if not self._sessions:
            self._idle.set()

    async def _close(self) -> None:
        if self._handover is not None:
            self._handover.close()
        await self._control.close()
        self.recorder.close()
        self._journal.close()


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of ``python -m trunkline.gateway``."""
    parser = argparse.ArgumentParser(
        prog="trunkline.gateway", description="Owns carriers' media sockets."
    )
    parser.add_argument(
        "--index", type=int, default=0, help="number of this gateway on the machine, from 0"
    )
    parser.add_argument(
        "--no-vad", action="store_true", help="no speech detection (for measurements)"
    )
    options = parser.parse_args(arguments)
    settings = Settings()
    # The writer threads hold the interpreter for fractions of a millisecond; a call must not wait
    # five for it.
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    configure_logging(
        level=settings.log_level, log_format=settings.log_format, process=f"gateway-{options.index}"
    )
    with asyncio.Runner(loop_factory=GatewayLoop) as runner:
        runner.run(_serve(settings, options.index, detects_speech=not options.no_vad))


async def _serve(settings: Settings, index: int, *, detects_speech: bool) -> None:
    gateway = Gateway(settings, index, detects_speech=detects_speech)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, gateway.drain)
    loop.add_signal_handler(signal.SIGINT, gateway.drain)
    await gateway.run()
