"""Unix sockets for our own user's processes only: a private folder, and a check of who connects."""

from __future__ import annotations

import os
import socket
import stat
import struct
from pathlib import Path

from trunkline.errors import ConfigError

__all__ = ["listen", "peer_pid", "prepare_folder", "unlink"]

_CREDENTIALS = struct.Struct("3i")  # struct ucred of unix(7): pid, uid, gid


def prepare_folder(folder: Path) -> None:
    """Make ``folder`` with mode 0700, or see that it is ours and closed to others.

    Raises:
        ConfigError: it belongs to someone else, or is no folder.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise ConfigError(f"{folder} must be a folder of the user that runs Trunkline")
    if stat.S_IMODE(found.st_mode) != 0o700:
        folder.chmod(0o700)


def listen(address: str | Path, *, backlog: int = 128) -> socket.socket:
    """Return a stream socket that listens at ``address``; a stale file there is removed."""
    unlink(address)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(str(address))
        sock.listen(backlog)
    except BaseException:
        sock.close()
        raise
    return sock


def unlink(address: str | Path) -> None:
    """Remove a socket's file, if it is there."""
    Path(address).unlink(missing_ok=True)


def peer_pid(sock: socket.socket) -> int | None:
    """Return the process at the other end, or None when it runs as another user (SO_PEERCRED)."""
    data = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, _gid = _CREDENTIALS.unpack(data)
    return pid if uid == os.getuid() else None
