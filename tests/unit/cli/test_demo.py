from __future__ import annotations

from .conftest import Run


def test_a_carrier_that_does_not_exist_is_refused_before_anything_starts(run: Run) -> None:
    result = run("demo", "--provider", "carrier-pigeon")

    assert result.exit_code == 1
    assert "error (unknown_carrier)" in result.stderr
