from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from trunkline.cli.tunnel import TunnelName, find_address, open_tunnel
from trunkline.errors import ConfigError

ADDRESS = "https://brave-new-words.trycloudflare.com"
CLOUDFLARED = f"2026-11-21T10:00:00Z INF |  {ADDRESS}   |"
NGROK = '{"lvl":"info","msg":"started tunnel","obj":"tunnels","url":"https://1a2b.ngrok-free.app"}'


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a program of the tunnel's name on the path; return the folder for its notes."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    return folder


def install(folder: Path, name: str, program: str) -> None:
    file = folder / name
    file.write_text(f"#!{sys.executable}\nimport sys, signal\n{program}\n")
    file.chmod(file.stat().st_mode | stat.S_IXUSR)


def notes(folder: Path) -> str:
    return (folder / "notes").read_text()


def test_cloudflared_is_started_read_and_ended(stand_in: Path) -> None:
    install(
        stand_in,
        "cloudflared",
        f"""
import pathlib
notes = pathlib.Path({str(stand_in / "notes")!r})
def stop(*_):
    notes.write_text(" ".join(sys.argv[1:]))
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
print("INF Requesting new quick Tunnel on trycloudflare.com...", file=sys.stderr, flush=True)
print({CLOUDFLARED!r}, file=sys.stderr, flush=True)
while True:
    print("x" * 1000, file=sys.stderr, flush=True)
    signal.setitimer(signal.ITIMER_REAL, 0.001)
    signal.signal(signal.SIGALRM, lambda *_: None)
    signal.pause()
""",
    )
    with open_tunnel(TunnelName.CLOUDFLARED, 8123) as address:
        assert address == ADDRESS

    assert notes(stand_in) == "tunnel --no-autoupdate --url http://127.0.0.1:8123"


def test_ngrok_is_started_and_read(stand_in: Path) -> None:
    install(
        stand_in,
        "ngrok",
        f"""
import pathlib
pathlib.Path({str(stand_in / "notes")!r}).write_text(" ".join(sys.argv[1:]))
print('{{"lvl":"info","msg":"client session established"}}', flush=True)
print({NGROK!r}, flush=True)
signal.pause()
""",
    )
    with open_tunnel(TunnelName.NGROK, 8000) as address:
        assert address == "https://1a2b.ngrok-free.app"

    assert notes(stand_in) == "http 8000 --log stdout --log-format json"


def test_a_tunnel_that_ends_says_why(stand_in: Path) -> None:
    install(stand_in, "ngrok", "print('authentication failed: ERR_NGROK_4018'); sys.exit(1)")
    with pytest.raises(ConfigError, match="ERR_NGROK_4018"), open_tunnel(TunnelName.NGROK, 8000):
        pass


def test_a_program_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    missing = pytest.raises(ConfigError, match=r"^ngrok is not installed")
    with missing, open_tunnel(TunnelName.NGROK, 8000):
        pass


@pytest.mark.parametrize(
    ("name", "line", "address"),
    [
        (TunnelName.CLOUDFLARED, CLOUDFLARED, ADDRESS),
        (TunnelName.CLOUDFLARED, "https://api.trycloudflare.com/tunnel: 500", None),
        (TunnelName.CLOUDFLARED, "https://www.cloudflare.com/website-terms/", None),
        (TunnelName.NGROK, NGROK, "https://1a2b.ngrok-free.app"),
        (TunnelName.NGROK, '{"url":"http://1a2b.ngrok-free.app"}', None),
        (TunnelName.NGROK, '["url"]', None),
        (TunnelName.NGROK, "https://1a2b.ngrok-free.app", None),
    ],
)
def test_only_the_public_address_is_taken(name: TunnelName, line: str, address: str | None) -> None:
    assert find_address(name, line) == address
