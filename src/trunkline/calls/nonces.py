"""Random numbers that signed requests carried: each proves one request, and no copy of it."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from trunkline.errors import SignatureError

__all__ = ["NonceCache"]

REMEMBERED_S = 600.0  # longer than any carrier's proof is valid
MOST = 100_000  # beyond it the oldest are forgotten first


class NonceCache:
    """Remembers the numbers of ten minutes. One front serves a machine, so its memory is enough.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: OrderedDict[tuple[str, str], tuple[float, str]] = OrderedDict()

    def check(self, carrier: str, nonce: str, request: str) -> None:
        """Note a number that was proved; ``request`` says what it came with.

        The same number with the same request is a repeated delivery.

        Raises:
            SignatureError: it came before, with another request.
        """
        now = self._clock()
        self._forget(now)
        key = (carrier, nonce)
        known = self._seen.get(key)
        if known is None:
            self._seen[key] = (now, request)
        elif known[1] != request:
            raise SignatureError("the proof was used for another request")

    def _forget(self, now: float) -> None:
        while self._seen:
            seen_at, _ = next(iter(self._seen.values()))
            if now - seen_at <= REMEMBERED_S and len(self._seen) < MOST:
                return
            self._seen.popitem(last=False)
