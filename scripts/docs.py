"""Check the documentation: every link between its pages leads to a file and a heading that exist.

Run by ``make docs``. Exit status 1, and a line for each, when something is amiss.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parent.parent

FENCE = re.compile(r"^(`{3,}|~{3,}).*?^\1[`~]*[ \t]*$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`[^`\n]*`")
INLINE_LINK = re.compile(r"\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
REFERENCE_LINK = re.compile(r"^\[[^\]]+\]:\s*<?(\S+?)>?\s*$", re.MULTILINE)
HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*\s*$", re.MULTILINE)


def pages(root: Path) -> list[Path]:
    """Return the pages that are checked: those at the top, and all of docs/."""
    return sorted([*root.glob("*.md"), *(root / "docs").rglob("*.md")])


def links(text: str) -> Iterator[str]:
    """Yield where a page's links lead; what stands in code is no link."""
    prose = CODE.sub("", FENCE.sub("", text))
    yield from INLINE_LINK.findall(prose)
    yield from REFERENCE_LINK.findall(prose)


def anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings, made the way code hosts make them."""
    found: set[str] = set()
    for heading in HEADING.findall(FENCE.sub("", text)):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        anchor = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        number = 0
        unique = anchor
        while unique in found:
            number += 1
            unique = f"{anchor}-{number}"
        found.add(unique)
    return found


def problem(root: Path, page: Path, link: str) -> str | None:
    """Return what is wrong with a link of a page; None when it leads somewhere, or out of here."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return None
    target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    if not target.is_relative_to(root):
        return f"{link}: leads out of the repository"
    if not target.exists():
        return f"{link}: no such file"
    if (
        parts.fragment
        and target.suffix == ".md"
        and unquote(parts.fragment) not in anchors(target.read_text(encoding="utf-8"))
    ):
        return f"{link}: no such heading"
    return None


def check(root: Path) -> list[str]:
    """Return one line for each link that leads nowhere."""
    return [
        f"{page.relative_to(root)}: {trouble}"
        for page in pages(root)
        for link in links(page.read_text(encoding="utf-8"))
        if (trouble := problem(root, page, link)) is not None
    ]


def main() -> int:
    """Check this repository, print what is wrong, return the exit status."""
    found = pages(ROOT)
    if not found:
        print("no pages found", file=sys.stderr)
        return 1
    troubles = check(ROOT)
    for trouble in troubles:
        print(trouble, file=sys.stderr)
    if not troubles:
        print(f"{len(found)} pages, every link leads somewhere")
    return 1 if troubles else 0


if __name__ == "__main__":
    sys.exit(main())
