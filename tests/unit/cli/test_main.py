from __future__ import annotations

import subprocess
import sys


def test_the_package_runs_as_a_program() -> None:
    program = [sys.executable, "-m", "trunkline.cli", "--version"]
    result = subprocess.run(program, capture_output=True, text=True, timeout=60, check=False)

    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("trunkline ")
