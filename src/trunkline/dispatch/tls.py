"""TLS contexts made before a fork: the CA bundle alone costs a worker 20 ms for each.

``ssl.create_default_context`` is the one function that every client library calls. In a zygote it
is replaced by one that hands out contexts built earlier. Each is handed out once, never shared: a
bot that turns verification off on the context it was given must not turn it off for its neighbours
in the same process. When they are used up, a new one is built.
"""

from __future__ import annotations

import ssl
from collections import defaultdict
from collections.abc import Callable

__all__ = ["SpareContexts"]

SPARES = 3
"""For each CA bundle: a bot connects to one service each for hearing, thinking, speaking."""


class SpareContexts:
    """A few ready ``ssl.SSLContext`` for each CA bundle that was asked for, or will be.

    Args:
        build: The real ``ssl.create_default_context``.
    """

    def __init__(self, build: Callable[..., ssl.SSLContext] = ssl.create_default_context) -> None:
        self._build = build
        self._spares: dict[str | None, list[ssl.SSLContext]] = defaultdict(list)
        self._asked: set[str | None] = {None}

    def install(self) -> None:
        """Answer ``ssl.create_default_context`` from now on, in this process and its forks."""
        ssl.create_default_context = self.create_default_context

    def fill(self) -> None:
        """Build what is missing: called after the agent was loaded, before the first fork."""
        for cafile in self._asked:
            while len(self._spares[cafile]) < SPARES:
                self._spares[cafile].append(self._build(cafile=cafile))

    def create_default_context(
        self,
        purpose: ssl.Purpose = ssl.Purpose.SERVER_AUTH,
        *,
        cafile: str | None = None,
        capath: str | None = None,
        cadata: str | bytes | None = None,
    ) -> ssl.SSLContext:
        """Stand in for ``ssl.create_default_context``; same arguments, same result."""
        if purpose is not ssl.Purpose.SERVER_AUTH or capath is not None or cadata is not None:
            return self._build(purpose, cafile=cafile, capath=capath, cadata=cadata)
        self._asked.add(cafile)
        spares = self._spares[cafile]
        return spares.pop() if spares else self._build(purpose, cafile=cafile)
