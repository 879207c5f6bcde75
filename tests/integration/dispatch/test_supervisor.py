"""``trunkline serve`` with stand-in processes: what is started, restarted, drained and refused."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.integration.dispatch.rig import is_alive
from tests.support.waiting import eventually
from trunkline.dispatch.supervisor import ExitStatus

# One program for all parts. Each appends what it does to a file, and does what its part must do.
STAND_IN = """
import os, signal, socket, sys, threading
part, journal, rest = sys.argv[1], sys.argv[2], sys.argv[3:]

def note(event):
    with open(journal, "a") as file:
        file.write(f"{part} {event} {os.getpid()}\\n")

def option(name):
    return int(rest[rest.index(name) + 1])

if part == "migrate":
    secret = os.environ.get("TRUNKLINE_SECRET_KEY", "none")
    note("ran-with-" + secret)
    sys.exit(int(os.environ.get("MIGRATE_STATUS", "0")))

def leave(number, frame):
    note("drained" if number == signal.SIGTERM else "retired")
    if not os.path.exists(journal + ".hold") or number != signal.SIGTERM:
        os._exit(0)

signal.signal(signal.SIGTERM, leave)
signal.signal(signal.SIGUSR2, leave)
if part == "front":
    if os.path.exists(journal + ".broken"):
        note("broken")
        sys.exit(1)
    listener = socket.socket(fileno=option("--listen-fd"))
    note("ready" + ("-open" if "--no-auth" in rest else ""))
    os.write(option("--ready-fd"), b"1")
    os.close(option("--ready-fd"))
    def serve():
        while True:
            connection, _ = listener.accept()
            connection.sendall(str(os.getpid()).encode())
            connection.close()
    threading.Thread(target=serve, daemon=True).start()
else:
    note("started-with-" + os.environ.get("TRUNKLINE_SECRET_KEY", "none") + "".join(rest))
while True:
    signal.pause()
"""

RUN = """
import sys
from trunkline.dispatch.supervisor import Programs, run
from trunkline.settings import Settings
program, journal = sys.argv[1:3]

def ready(port):
    with open(journal + ".port", "w") as file:
        print(port, file=file)

part = lambda name: (sys.executable, program, name, journal)
programs = Programs(
    migrate=part("migrate"), gateway=part("gateway"), pool=part("pool"), front=part("front")
)
sys.exit(run(Settings(), programs=programs, on_ready=ready))
"""


class Serve:
    """A supervisor in a process of its own."""

    def __init__(self, folder: Path, process: asyncio.subprocess.Process) -> None:
        self.journal = folder / "journal"
        self.process = process
        self.port = 0

    async def ready(self) -> None:
        port = self.journal.with_suffix(".port")
        await eventually(
            lambda: port.exists() and port.read_text().endswith("\n"), what="the front is ready"
        )
        self.port = int(port.read_text())

    def events(self, part: str, event: str = "") -> list[int]:
        """Return the pids of the processes that noted ``event``."""
        lines = self.journal.read_text().split("\n") if self.journal.exists() else []
        found = [line.split() for line in lines if line]
        return [int(pid) for who, what, pid in found if who == part and what.startswith(event)]

    async def until(self, part: str, event: str, *, times: int = 1) -> list[int]:
        await eventually(
            lambda: len(self.events(part, event)) >= times, what=f"{part} {event} x {times}"
        )
        return self.events(part, event)

    async def ask(self) -> int:
        """Ask the front which process it is."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        data = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        await writer.wait_closed()
        return int(data)

    async def status(self) -> int:
        return await asyncio.wait_for(self.process.wait(), 20)


@asynccontextmanager
async def serving(folder: Path, *, ready: bool = True, **variables: str) -> AsyncIterator[Serve]:
    program = folder / "stand_in.py"
    program.write_text(STAND_IN)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", RUN, str(program), str(folder / "journal")),
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "TRUNKLINE_HOME": str(folder / "home"),
            "TRUNKLINE_PORT": "0",
            "TRUNKLINE_GATEWAYS": "2",
            "TRUNKLINE_SECRET_KEY": "secret",
            **variables,
        },
        cwd=folder,
    )
    serve = Serve(folder, process)
    try:
        if ready:
            await serve.ready()
        yield serve
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        for part in ("front", "gateway", "pool"):
            for pid in serve.events(part):
                if is_alive(pid):
                    os.kill(pid, signal.SIGKILL)
        await eventually(
            lambda: not any(map(is_alive, serve.events("gateway") + serve.events("pool"))),
            what="all stand-ins end",
        )


async def test_it_starts_everything_and_hides_secrets_from_what_needs_none(tmp_path: Path) -> None:
    async with serving(tmp_path) as serve:
        assert len(serve.events("migrate", "ran-with-secret")) == 1
        await serve.until("gateway", "started-with-none--index0")
        await serve.until("gateway", "started-with-none--index1")
        await serve.until("pool", "started-with-none")
        assert await serve.ask() == serve.events("front", "ready")[0]
        run_dir = tmp_path / "home" / "run"
        assert run_dir.stat().st_mode & 0o777 == 0o700


async def test_a_killed_front_refuses_no_request(tmp_path: Path) -> None:
    async with serving(tmp_path) as serve:
        first = await serve.ask()
        os.kill(first, signal.SIGKILL)
        await eventually(lambda: not is_alive(first), what="the front's end")
        answers = await asyncio.gather(*(serve.ask() for _ in range(5)))
        assert len(set(answers)) == 1
        assert first not in answers


@pytest.mark.parametrize("part", ["gateway", "pool"])
async def test_what_dies_is_started_again(tmp_path: Path, part: str) -> None:
    async with serving(tmp_path) as serve:
        started = await serve.until(part, "started", times=2 if part == "gateway" else 1)
        os.kill(started[0], signal.SIGKILL)
        again = await serve.until(part, "started", times=len(started) + 1)
        assert again[-1] not in started
        assert len(serve.events("front", "ready")) == 1


async def test_sighup_replaces_the_front_without_a_gap(tmp_path: Path) -> None:
    async with serving(tmp_path) as serve:
        (old,) = serve.events("front", "ready")
        serve.process.send_signal(signal.SIGHUP)
        assert await serve.until("front", "retired") == [old]
        new = serve.events("front", "ready")[1]
        await eventually(lambda: not is_alive(old), what="the old front's end")
        assert await serve.ask() == new


async def test_sighup_keeps_the_old_front_when_the_new_one_fails(tmp_path: Path) -> None:
    async with serving(tmp_path) as serve:
        (old,) = serve.events("front", "ready")
        (tmp_path / "journal.broken").touch()
        serve.process.send_signal(signal.SIGHUP)
        await serve.until("front", "broken")
        assert await serve.ask() == old
        serve.process.send_signal(signal.SIGTERM)
        assert await serve.status() == ExitStatus.OK


async def test_sigterm_drains_the_front_before_anything_else(tmp_path: Path) -> None:
    async with serving(tmp_path) as serve:
        await serve.until("gateway", "started", times=2)
        await serve.until("pool", "started")
        (tmp_path / "journal.hold").touch()
        serve.process.send_signal(signal.SIGTERM)
        (front,) = await serve.until("front", "drained")
        assert await serve.ask() == front, "it answers until the last call is closed"
        assert serve.events("gateway", "drained") == []
        (tmp_path / "journal.hold").unlink()
        os.kill(front, signal.SIGTERM)
        assert await serve.status() == ExitStatus.OK
        noted = serve.journal.read_text().split("\n")
        order = [line.split()[0] for line in noted if "drained" in line]
        assert order == ["front", "front", "gateway", "gateway", "pool"]


async def test_a_second_signal_ends_everything_at_once(tmp_path: Path) -> None:
    async with serving(tmp_path) as serve:
        (tmp_path / "journal.hold").touch()
        serve.process.send_signal(signal.SIGINT)
        await serve.until("front", "drained")
        serve.process.send_signal(signal.SIGINT)
        assert await serve.status() == ExitStatus.FORCED
        assert not any(is_alive(pid) for pid in serve.events("gateway"))


async def test_a_killed_supervisor_leaves_gateways_and_takes_front_and_pool(tmp_path: Path) -> None:
    async with serving(tmp_path) as serve:
        gateways = await serve.until("gateway", "started", times=2)
        front, pool = serve.events("front")[0], (await serve.until("pool", "started"))[0]
        serve.process.kill()
        await eventually(
            lambda: not is_alive(front) and not is_alive(pool), what="front and pool end"
        )
        assert all(is_alive(pid) for pid in gateways)


async def test_a_second_serve_of_one_home_is_refused(tmp_path: Path) -> None:
    async with serving(tmp_path), serving(tmp_path, ready=False) as second:
        assert await second.status() == ExitStatus.ALREADY_RUNNING


async def test_a_taken_address_is_refused(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        async with serving(tmp_path, ready=False, TRUNKLINE_PORT=port) as serve:
            assert await serve.status() == ExitStatus.ADDRESS_UNAVAILABLE


async def test_failed_migrations_start_nothing(tmp_path: Path) -> None:
    async with serving(tmp_path, ready=False, MIGRATE_STATUS="3") as serve:
        assert await serve.status() == ExitStatus.MIGRATION_FAILED
        assert serve.events("gateway") == []


async def test_a_front_that_never_gets_ready_ends_it(tmp_path: Path) -> None:
    (tmp_path / "journal.broken").touch()
    async with serving(tmp_path, ready=False) as serve:
        assert await serve.status() == ExitStatus.FRONT_FAILED
        assert not any(is_alive(pid) for pid in serve.events("gateway"))
