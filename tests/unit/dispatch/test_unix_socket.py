from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from tests.support.descriptors import open_descriptors
from trunkline.dispatch.unix_socket import listen, peer_pid, prepare_folder, unlink
from trunkline.errors import ConfigError


def test_the_folder_is_closed_to_others(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "run"
    prepare_folder(folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o755)
    prepare_folder(folder)
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_link_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").symlink_to(tmp_path)
    with pytest.raises(ConfigError, match="must be a folder"):
        prepare_folder(tmp_path / "run")


def test_a_stale_socket_is_replaced_and_the_peer_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    listen("x.sock").close()
    with listen("x.sock") as listener, socket.socket(socket.AF_UNIX) as client:
        client.connect("x.sock")
        connection, _ = listener.accept()
        with connection:
            assert peer_pid(connection) == os.getpid()
    unlink("x.sock")
    unlink("x.sock")
    assert not Path("x.sock").exists()


def test_an_address_that_cannot_be_bound_leaves_no_descriptor(tmp_path: Path) -> None:
    before = open_descriptors()
    with pytest.raises(OSError, match="too long"):
        listen(tmp_path / ("x" * 200))
    assert open_descriptors() == before
