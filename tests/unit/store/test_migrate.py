from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from trunkline.errors import ConfigError
from trunkline.store import SqlStore
from trunkline.store.migrate import prepare_home


def migrate(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command as the supervisor does, in ``folder``, where no ``.env`` is."""
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    return subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "-m", "trunkline.store.migrate"],
        cwd=folder,
        env={**kept, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_the_home_and_the_database_are_made_for_their_owner_only(tmp_path: Path) -> None:
    home = tmp_path / "deep" / "home"

    done = migrate(tmp_path, TRUNKLINE_HOME=str(home))

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert mode(home) == 0o700
    assert mode(home / "trunkline.db") == 0o600
    store = await SqlStore.open(f"sqlite+aiosqlite:///{home / 'trunkline.db'}")
    assert await store.fetch_agents() == []
    await store.close()
    assert migrate(tmp_path, TRUNKLINE_HOME=str(home)).returncode == 0


async def test_postgresql_is_migrated_too(tmp_path: Path, postgres_url: str) -> None:
    done = migrate(tmp_path, TRUNKLINE_HOME=str(tmp_path), DATABASE_URL=postgres_url)

    assert (done.returncode, done.stderr) == (0, "")
    store = await SqlStore.open(postgres_url)
    await store.check()
    await store.close()


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"DATABASE_URL": "postgresql://u:hush@127.0.0.1:1/d"}, "is not available"),
        ({"DATABASE_URL": "mysql://u:hush@h/d"}, "DATABASE_URL must start with"),
        ({"DATABASE_URL": "sqlite:////no/such/folder/x.db"}, "folder that does not exist"),
        ({"TRUNKLINE_HOME": "/dev/null/home"}, "TRUNKLINE_HOME"),
        ({"PUBLIC_BASE_URL": "ftp://hush"}, "PUBLIC_BASE_URL"),
        ({"TRUNKLINE_PORT": "hush"}, "TRUNKLINE_PORT"),
    ],
    ids=lambda it: next(iter(it)) if isinstance(it, dict) else "",
)
def test_what_went_wrong_is_one_line(
    tmp_path: Path, environment: dict[str, str], said: str
) -> None:
    done = migrate(tmp_path, **{"TRUNKLINE_HOME": str(tmp_path / "home"), **environment})

    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("trunkline: ")
    assert len(done.stderr.splitlines()) == 1
    assert said in done.stderr
    assert "hush" not in done.stderr


def test_a_home_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    tmp_path.chmod(0o750)

    prepare_home(tmp_path)

    assert mode(tmp_path) == 0o750


def test_a_home_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(ConfigError, match="cannot be made"):
        prepare_home(tmp_path / "file" / "home")
    with pytest.raises(ConfigError, match="cannot be made"):
        prepare_home(tmp_path / "file")
