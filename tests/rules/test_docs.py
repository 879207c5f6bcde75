"""The check of the documentation finds what it should, and finds nothing in ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts import docs


def test_our_links_lead_somewhere() -> None:
    assert docs.check(docs.ROOT) == []


@pytest.mark.parametrize(
    ("line", "trouble"),
    [
        ("[a](docs/gone.md)", "no such file"),
        ("[a](docs/here.md#gone)", "no such heading"),
        ("[a](#gone)", "no such heading"),
        ("[a](../outside.md)", "leads out of the repository"),
        ("![picture](gone.png)", "no such file"),
        ("[a]: docs/gone.md", "no such file"),
    ],
)
def test_a_broken_link_is_found(tmp_path: Path, line: str, trouble: str) -> None:
    write_pages(tmp_path, line)

    found = docs.check(tmp_path)

    assert len(found) == 1
    assert found[0].startswith("README.md: ")
    assert found[0].endswith(trouble)


@pytest.mark.parametrize(
    "line",
    [
        "[a](docs/here.md)",
        "[a](docs/here.md#what-it-says-twice)",
        "[a](docs/here.md#what-it-says-twice-1)",
        "[a](#top)",
        "[a](https://example.com/gone)",
        "`[a](docs/gone.md)`",
        "```\n[a](docs/gone.md)\n```",
    ],
)
def test_a_good_link_is_left_alone(tmp_path: Path, line: str) -> None:
    write_pages(tmp_path, line)

    assert docs.check(tmp_path) == []


def write_pages(root: Path, line: str) -> None:
    (root / "docs").mkdir()
    (root / "README.md").write_text(f"# Top\n\n{line}\n", encoding="utf-8")
    (root / "docs" / "here.md").write_text(
        "## What it `says`, twice\n\n## What it says twice\n", encoding="utf-8"
    )
