from __future__ import annotations

import socket
import subprocess
import sys
import threading

import pytest

from trunkline.dispatch.loading import Leftovers, find_loader, load_agent, preload
from trunkline.dispatch.messages import AgentSpec
from trunkline.errors import ConfigError, WorkerFailed

LOADER = f"{__name__}:load_here"
AGENT = AgentSpec(name="a", kind="module")


class Idle:
    async def run(self, call: object, /) -> None:
        return None


def load_here(agent: AgentSpec, /) -> Idle:
    match agent.module:
        case "raises":
            raise RuntimeError("no model")
        case "exits":
            sys.exit(4)
        case "interrupted":
            raise KeyboardInterrupt
        case "unset":
            raise ConfigError("SERVICE_API_KEY is not set", field="SERVICE_API_KEY")
        case _:
            return Idle()


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, __name__, sys.modules[load_here.__module__])


def load(module: str | None) -> object:
    return load_agent(LOADER, AgentSpec(name="a", kind="module", module=module))


def test_a_loader_is_found_by_name() -> None:
    preload(LOADER)
    assert find_loader(LOADER) is load_here
    assert isinstance(load(None), Idle)


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        ("raises", r"RuntimeError at import: no model \(test_loading.py, line \d+\)"),
        ("exits", r"the module exits at import \(status 4\)"),
        ("unset", "SERVICE_API_KEY is not set"),
    ],
)
def test_whatever_happens_at_import_is_a_config_error(module: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        load(module)


def test_an_interrupted_load_is_not_the_agents_fault() -> None:
    with pytest.raises(WorkerFailed):
        load("interrupted")


def test_threads_children_and_connections_are_counted() -> None:
    before = Leftovers.count()
    release = threading.Event()
    thread = threading.Thread(target=release.wait)
    thread.start()
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as client,
    ):
        accepted, _ = listener.accept()
        after = Leftovers.count()
        accepted.close()
        assert client.fileno() >= 0
    release.set()
    thread.join()
    child.communicate(b"\n")
    assert after.threads == before.threads + 1
    assert after.python_threads == before.python_threads + 1
    assert after.children == before.children + 1
    assert after.connections == before.connections + 2, "a listener and Unix sockets do not count"


def test_reasons_are_words_for_a_person() -> None:
    assert Leftovers(threads=1, python_threads=1, children=0, connections=0).reasons() == []
    busy = Leftovers(threads=9, python_threads=2, children=1, connections=3)
    assert busy.reasons() == ["8 threads", "1 child processes", "3 network connections"]
