"""Counting open file descriptors, so that tests can show that nothing leaks (Linux: /proc)."""

from __future__ import annotations

import os
from pathlib import Path


def open_descriptors() -> int:
    """Return how many file descriptors this process holds."""
    return len(descriptors_of(os.getpid()))


def descriptors_of(pid: int) -> dict[int, str]:
    """Return the descriptors of process ``pid`` with what each leads to, such as ``socket:[123]``.

    The one that reads the listing itself is left out: it is closed again on return.

    Raises:
        ProcessLookupError: there is no such process, or it is not ours to look at.
    """
    folder = Path(f"/proc/{pid}/fd")
    found: dict[int, str] = {}
    try:
        entries = list(folder.iterdir())
    except OSError as error:
        raise ProcessLookupError(f"cannot read the descriptors of process {pid}") from error
    for entry in entries:
        try:
            found[int(entry.name)] = str(entry.readlink())
        except FileNotFoundError:  # closed since it was listed, as the listing's own one is
            continue
    return found
