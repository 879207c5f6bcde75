"""TLS contexts made before a fork: the CA bundle alone costs a worker 20 to 30 ms for each.

Client libraries call ``ssl.create_default_context``; httpx2 (OpenAI's client, 2026-11) calls
``httpcore2.default_ssl_context``. In a zygote both are replaced by functions that hand out contexts
built earlier. Each is handed out once, never shared: a bot that turns verification off on the
context it was given must not turn it off for its neighbours in the same process. When they are used
up, a new one is built.
"""

from __future__ import annotations

import ssl
from collections import defaultdict
from collections.abc import Callable, Hashable
from functools import partial
from importlib import import_module
from importlib.util import find_spec

__all__ = ["SpareContexts"]

SPARES = 3
"""For each CA bundle: a bot connects to one service each for hearing, thinking, speaking."""

_Build = Callable[..., ssl.SSLContext]


class SpareContexts:
    """A few ready ``ssl.SSLContext`` of each sort that was asked for, or will be.

    Args:
        build: The real ``ssl.create_default_context``.
    """

    def __init__(self, build: _Build = ssl.create_default_context) -> None:
        self._build = build
        self._spares: dict[Hashable, list[ssl.SSLContext]] = defaultdict(list)
        self._builders: dict[Hashable, _Build] = {None: build}
        """What was asked for: CA file, or name of the function, and how to build it."""

    def install(self) -> None:
        """Answer the libraries from now on, in this process and its forks."""
        ssl.create_default_context = self.create_default_context
        if find_spec("httpcore2") is not None:
            httpcore2 = import_module("httpcore2")
            real: _Build | None = getattr(httpcore2, "default_ssl_context", None)
            if real is not None:
                vars(httpcore2)["default_ssl_context"] = partial(self._default_ssl_context, real)

    def fill(self) -> None:
        """Build what is missing: called after the agent was loaded, before the first fork."""
        for key, build in list(self._builders.items()):
            while len(self._spares[key]) < SPARES:
                self._spares[key].append(build())

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
        return self._take(cafile, partial(self._build, cafile=cafile))

    def _default_ssl_context(self, real: _Build, **options: bool) -> ssl.SSLContext:
        """Stand in for ``httpcore2.default_ssl_context``."""
        key = ("httpcore2", tuple(sorted(options.items())))
        return self._take(key, partial(real, **options))

    def _take(self, key: Hashable, build: _Build) -> ssl.SSLContext:
        self._builders[key] = build
        spares = self._spares[key]
        return spares.pop() if spares else build()
