"""Rules about the repository that no linter knows."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from trunkline import carriers

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "trunkline"
UNIT_TESTS = ROOT / "tests" / "unit"

TESTED_ELSEWHERE: dict[str, str] = {
    # module below src/trunkline: why it has no unit test file of its own, and what tests it
    "gateway/__main__.py": "two lines: tests/integration/gateway starts it",
    "gateway/host.py": "a protocol without code",
    "gateway/process.py": "a process: tests/integration/gateway",
    "gateway/session.py": "needs socket, pool and worker: tests/integration/gateway",
}
"""Modules without a mirrored test file. A reason names the tests that cover the module."""

NAMES_CARRIERS: dict[str, str] = {
    # module below src/trunkline: why it must know a carrier by name
    "bots/presented/__init__.py": "which protocols bots can be shown, by the carrier's name",
    "bots/presented/twilio.py": "the protocol that a bot for Twilio speaks",
}
"""Modules outside carriers/ and simulator/ that may spell a carrier's name."""

# In two pieces, so that this file does not find itself.
PACKAGE_INDEXES = (
    "pypi" + ".org",
    "pythonhosted" + ".org",
    "--index" + "-url",
    "--extra-index" + "-url",
)
# Homes and scratch folders of whoever wrote it; system paths such as /proc and /etc are facts.
MACHINE_PATH = re.compile(
    r"(?<![\w./:-])/(?:home/(?!USER|trunkline)\w|Users/\w|root/|work/|tmp/[a-z]{1,3}/)"
)


def modules() -> list[str]:
    """Return every module of the package as a path below src/trunkline."""
    return sorted(str(path.relative_to(SOURCE)) for path in SOURCE.rglob("*.py"))


def syntax_tree(module: str) -> ast.Module:
    return ast.parse((SOURCE / module).read_text(encoding="utf-8"), filename=module)


def has_code(module: str) -> bool:
    """Say whether a module does more than document and re-export."""
    return any(
        not isinstance(node, ast.Import | ast.ImportFrom | ast.Assign)
        and not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        for node in syntax_tree(module).body
    )


def mirror(module: str) -> Path:
    """Return where the unit tests of a module belong; ``__init__`` is tested by ``test_init``."""
    path = Path(module)
    return UNIT_TESTS / path.parent / f"test_{path.stem.strip('_')}.py"


def text_files() -> Iterator[tuple[str, str]]:
    """Yield name and text of each file that is, or would be, under version control."""
    listing = subprocess.run(
        # A clone may belong to another user than the one who tests, as in a container.
        ["git", "-c", "safe.directory=*", "ls-files", "-z", "-c", "-o", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    for name in filter(None, listing.stdout.split("\0")):
        path = ROOT / name
        if path.is_symlink() or not path.is_file():
            continue
        try:
            yield name, path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue


def test_the_rules_see_the_package() -> None:
    assert "errors.py" in modules()
    assert any(name == "pyproject.toml" for name, _ in text_files())


@pytest.mark.parametrize("module", modules())
def test_every_module_says_what_it_is_for(module: str) -> None:
    assert ast.get_docstring(syntax_tree(module)), f"{module} has no docstring"


@pytest.mark.parametrize("module", [module for module in modules() if has_code(module)])
def test_every_module_has_its_test_file(module: str) -> None:
    if module in TESTED_ELSEWHERE:
        assert not mirror(module).exists(), f"{module} has a test file: take it off the list"
        return
    assert mirror(module).is_file(), (
        f"write {mirror(module).relative_to(ROOT)}, or give a reason in TESTED_ELSEWHERE"
    )


@pytest.mark.parametrize("table", [TESTED_ELSEWHERE, NAMES_CARRIERS], ids=["tests", "carriers"])
def test_exceptions_are_about_modules_that_exist(table: dict[str, str]) -> None:
    assert sorted(set(table) - set(modules())) == []
    assert all(len(reason) > 20 for reason in table.values()), "an exception needs a reason"


@pytest.mark.parametrize(
    "module",
    [
        module
        for module in modules()
        if not module.startswith(("carriers/", "simulator/")) and module not in NAMES_CARRIERS
    ],
)
def test_carriers_are_named_only_where_they_live(module: str) -> None:
    """A string that is a carrier's name decides by carrier; prose that tells of one does not."""
    named = [
        f"{module}:{node.lineno} {node.value!r}"
        for node in ast.walk(syntax_tree(module))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and node.value.lower() in carriers.NAMES
    ]
    assert named == [], "ask the carrier's record instead"


def test_no_file_names_a_package_index() -> None:
    found = [
        f"{name}: {host}" for name, text in text_files() for host in PACKAGE_INDEXES if host in text
    ]
    assert found == []


def test_no_file_names_a_path_of_one_machine() -> None:
    found = [
        f"{name}:{number}: {line.strip()[:80]}"
        for name, text in text_files()
        if name != str(Path(__file__).relative_to(ROOT))
        for number, line in enumerate(text.splitlines(), start=1)
        if MACHINE_PATH.search(line)
    ]
    assert found == []
