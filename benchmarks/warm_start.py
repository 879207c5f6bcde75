"""From the gateway's claim to a bot that runs, and what a worker weighs, beside a process per call.

No warm worker waits: each claim makes the pool fork one, so that the figure is the fork's. The
agent has Pipecat's OpenAI services for all three stages; nothing is connected, the key is none.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from trunkline.audio import Encoding, MediaFormat
from trunkline.dispatch.channel import Channel
from trunkline.dispatch.messages import (
    AgentSpec,
    BotStarted,
    CallFacts,
    CallStarted,
    Message,
    Reserved,
)
from trunkline.dispatch.pool import serve_pool
from trunkline.dispatch.pool_client import PoolClient
from trunkline.dispatch.zygotes import ZygoteOptions

Row = dict[str, object]

CALLS = int(os.environ.get("BENCH_STARTS", "40"))
WEIGHED = 40
"""Workers alive at once when they are weighed: shared pages count by their share."""
PEERS = 3
"""A cold start takes seconds and varies little."""
STARTED_MS = 50.0
WORKER_MB = 20.0
TIMEOUT_S = 60.0

_PCMU = MediaFormat(encoding=Encoding.PCMU, sample_rate_hz=8000)
_AGENT = AgentSpec(
    name="bench",
    kind="pipeline",
    warm=0,
    pipeline={
        "prompt": "Be brief.",
        "stt": {"service": "openai"},
        "llm": {"service": "openai"},
        "tts": {"service": "openai"},
    },
)


def rows() -> list[Row]:
    """Return the table's rows."""
    ours_ms, ours_mb = asyncio.run(_measure_ours())
    peer_ms, peer_mb = _measure_peer()
    p95_ms = statistics.quantiles(ours_ms, n=20)[-1]
    name = "Pipecat, a process per call"
    return [
        _row("claim to bot started, p95", "ms", p95_ms, max(peer_ms), name, STARTED_MS),
        _row(
            "claim to bot started, median",
            "ms",
            statistics.median(ours_ms),
            statistics.median(peer_ms),
            name,
            None,
        ),
        _row(
            f"memory of one of {WEIGHED} workers (PSS)",
            "MB",
            statistics.mean(ours_mb),
            statistics.mean(peer_mb),
            name,
            WORKER_MB,
        ),
    ]


def _row(
    row: str, unit: str, ours: float, peer: float, peer_name: str, budget: float | None
) -> Row:
    return {
        "row": row,
        "unit": unit,
        "ours": ours,
        "peer": peer,
        "peer_name": peer_name,
        "ratio": peer / ours,
        "budget": budget,
        "ok": budget is None or ours <= budget,
    }


async def _measure_ours() -> tuple[list[float], list[float]]:
    """Return milliseconds of each start, and megabytes of each worker."""
    with tempfile.TemporaryDirectory(prefix="tl-") as folder:
        options = ZygoteOptions(
            run_dir=Path(folder),
            environment={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
                "OPENBLAS_NUM_THREADS": "1",
                "OPENAI_API_KEY": "none-needed",
            },
            log_level="ERROR",
        )
        address = Path(folder) / "pool.sock"
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(serve_pool(options, address, warm_workers=0, stop=stop))
            client = PoolClient(address, sender="bench")
            running = group.create_task(client.run())
            try:
                await client.prepare(_AGENT)
                times = [await _start_and_end(client, f"call-{n}") for n in range(CALLS)]
                live = [await _start(client, f"live-{n}") for n in range(WEIGHED)]
                zygote = (await client.state()).agents["bench"]["zygote_pid"]
                weights = [_pss_mb(pid) for pid in _children(zygote)]
            finally:
                running.cancel()
                stop.set()
        for _, channel in live:
            channel.abort()
        return times, weights


async def _start_and_end(client: PoolClient, call_id: str) -> float:
    """Return the milliseconds of one start; its worker is gone before the next one begins."""
    started_ms, channel = await _start(client, call_id)
    channel.abort()
    async with asyncio.timeout(TIMEOUT_S):
        # The end of another process has no event to wait for.
        while (await client.state()).agents["bench"]["busy"]:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return started_ms


async def _start(client: PoolClient, call_id: str) -> tuple[float, Channel]:
    started = asyncio.Event()

    def receive(message: Message) -> None:
        if isinstance(message, BotStarted):
            started.set()

    before_s = time.perf_counter()
    worker: Reserved = await client.claim(call_id, _AGENT)
    channel = Channel(
        on_message=receive, on_audio=lambda _: None, on_closed=lambda _: None, sender="bench"
    )
    await asyncio.get_running_loop().create_unix_connection(lambda: channel, worker.address)
    channel.send(
        CallStarted(
            facts=CallFacts(call_id=call_id, carrier="bench", direction="inbound", agent=_AGENT),
            stream_id=call_id,
            carrier_call_id=call_id,
            received_format=_PCMU,
            sent_format=_PCMU,
        )
    )
    async with asyncio.timeout(TIMEOUT_S):
        await started.wait()
    return (time.perf_counter() - before_s) * 1000, channel


def _measure_peer() -> tuple[list[float], list[float]]:
    times, weights = list[float](), list[float]()
    for _ in range(PEERS):
        before_s = time.perf_counter()
        with subprocess.Popen(
            [sys.executable, "-m", "benchmarks._pipecat_cold"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as process:
            assert process.stdout is not None
            if process.stdout.readline() != b"started\n":
                raise RuntimeError("the peer did not start")
            times.append((time.perf_counter() - before_s) * 1000)
            weights.append(_pss_mb(process.pid))
            process.kill()
    return times, weights


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _pss_mb(pid: int) -> float:
    """Return proportional memory in megabytes: shared pages count by their share."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("smaps_rollup has no Pss")


if __name__ == "__main__":
    for row in rows():
        print(row)
