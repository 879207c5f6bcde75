"""``trunkline demo``, as README says."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from tests.support.server import own_environment

WITHIN_S = 100


async def test_the_demo_holds_its_conversation(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "trunkline.cli", "demo", "--json",
        cwd=tmp_path, env=own_environment({}),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(WITHIN_S):
        out, err = await process.communicate()
    assert process.returncode == 0, err.decode()[-4000:]
    result = json.loads(out)
    assert result["ok"], result
