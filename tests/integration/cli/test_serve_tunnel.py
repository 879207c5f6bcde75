"""``trunkline serve --tunnel``, with a stand-in for the tunnel program and the real server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx

from trunkline.cli.demo_server import demo_environment, free_port

ADDRESS = "https://four-random-words.trycloudflare.com"
STAND_IN = f"""#!{sys.executable}
import signal, sys
print("INF +  {ADDRESS}  +", file=sys.stderr, flush=True)
signal.pause()
"""


def wait_until_ready(url: str, server: subprocess.Popen[bytes], within_s: float = 60.0) -> None:
    deadline_s = time.monotonic() + within_s
    while time.monotonic() < deadline_s and server.poll() is None:
        try:
            if httpx.get(f"{url}/readyz", timeout=2.0, trust_env=False).is_success:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.05)
    raise AssertionError("the server did not become ready")


def test_the_tunnels_address_becomes_the_servers_own(tmp_path: Path) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "cloudflared"
    program.write_text(STAND_IN)
    program.chmod(0o755)
    home = tmp_path / "home"
    home.mkdir()
    port = free_port()
    environment = demo_environment(home, port, {})
    del environment["PUBLIC_BASE_URL"]
    environment["PATH"] = f"{folder}{os.pathsep}{environment['PATH']}"
    arguments = ("serve", "--port", str(port), "--no-auth", "--tunnel", "cloudflared")
    log = tmp_path / "server.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "trunkline.cli", *arguments],
            env=environment,
            cwd=home,
            stdout=output,
            stderr=output,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until_ready(url, server)
        providers = httpx.get(f"{url}/api/providers", trust_env=False).json()
        through_tunnel = httpx.get(
            f"{url}/api/providers", headers={"X-Forwarded-For": "203.0.113.9"}, trust_env=False
        )
    finally:
        server.send_signal(signal.SIGTERM)
        status = server.wait(30)

    address = providers[0]["console"]["voice_url"]
    assert address.startswith(f"{ADDRESS}/telephony/")
    assert through_tunnel.status_code == 401
    assert status == 0
    text = log.read_text(errors="replace")
    assert ADDRESS in text
    assert "--no-auth:" in text
