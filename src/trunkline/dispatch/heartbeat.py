"""The thread that tells the gateway each second that the worker lives, and how its loop lags.

From the loop itself a heartbeat could not tell a blocked bot (a blocking SDK, a first import) from
a dead process. The thread is also the worker's last resort: a bot that does not end when its call
has ended is ended with the process.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

from trunkline.dispatch.messages import Heartbeat
from trunkline.dispatch.transport import WorkerChannel

__all__ = ["HEARTBEAT_S", "HeartbeatThread"]

HEARTBEAT_S = 1.0
ANSWER_S = 0.05
"""How long a beat waits for the loop before it reports lag."""


class HeartbeatThread(threading.Thread):
    """Sends ``Heartbeat`` on ``channel`` until stopped.

    Args:
        exit_s: Seconds that the bot has after ``call_ended``, or after the gateway was lost.
        give_up: Called in the thread when they are over. Ends the process, whatever the loop does.
    """

    def __init__(
        self,
        channel: WorkerChannel,
        loop: asyncio.AbstractEventLoop,
        *,
        exit_s: float,
        give_up: Callable[[], None],
        interval_s: float = HEARTBEAT_S,
    ) -> None:
        super().__init__(name="heartbeat", daemon=True)
        self._channel = channel
        self._loop = loop
        self._exit_s = exit_s
        self._give_up = give_up
        self._interval_s = interval_s
        self._stopped = threading.Event()
        self._turned = threading.Event()
        self._asked_at: float | None = None
        self._ended_at: float | None = None

    def call_ended(self) -> None:
        """The bot's time to finish runs from the first call on."""
        if self._ended_at is None:
            self._ended_at = time.monotonic()

    def stop(self) -> None:
        """Beat no more."""
        self._stopped.set()

    def run(self) -> None:
        """See ``threading.Thread``."""
        while not self._stopped.wait(self._interval_s):
            self._channel.send_from_thread(Heartbeat(loop_lag_ms=self._measure_lag_ms()))
            if self._channel.is_broken:
                self.call_ended()
            if self._ended_at is not None and time.monotonic() - self._ended_at >= self._exit_s:
                self._give_up()
                return

    def _measure_lag_ms(self) -> int:
        """Milliseconds since the loop was asked for a turn that it has not had; 0 when it turns."""
        if self._asked_at is None or self._turned.is_set():
            self._turned.clear()
            self._asked_at = time.monotonic()
            try:
                self._loop.call_soon_threadsafe(self._turned.set)
            except RuntimeError:  # the loop is closed: the process is on its way out
                return 0
        if self._turned.wait(ANSWER_S):
            return 0
        return round((time.monotonic() - self._asked_at) * 1000)
