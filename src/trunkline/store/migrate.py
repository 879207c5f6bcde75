"""``python -m trunkline.store.migrate``: brings the database to this version's schema.

Run before the front starts. The only module here that reads settings: it is its own process.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from pydantic import ValidationError
from sqlalchemy import URL

from trunkline.errors import ConfigError, TrunklineError
from trunkline.settings import Settings

from .engine import parse_database_url
from .schema import check_current, upgrade

__all__ = ["check_current", "main", "prepare_home", "upgrade"]


def prepare_home(home: Path) -> None:
    """Make Trunkline's folder, for its owner only: it holds credentials and recordings.

    Raises:
        ConfigError: it cannot be made.
    """
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"TRUNKLINE_HOME {home} cannot be made: {error.strerror}", field="TRUNKLINE_HOME"
        ) from error


def _prepare_database_folder(url: URL) -> None:
    """Raises ``ConfigError`` when the file has no folder; SQLite's own message names nothing."""
    if (
        url.get_backend_name() == "sqlite"
        and not Path(url.database or "").absolute().parent.is_dir()
    ):
        raise ConfigError(
            "DATABASE_URL names a file in a folder that does not exist", field="DATABASE_URL"
        )


def _read_settings() -> Settings:
    try:
        return Settings()
    except ValidationError as error:
        # Without the input: a wrong value may be a secret.
        first = error.errors(include_input=False, include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"]).upper()
        raise ConfigError(f"{field}: {first['msg']}", field=field) from None


def main() -> int:
    """Upgrade the configured database; return the exit status. A failure is one line on stderr."""
    os.umask(0o077)
    try:
        settings = _read_settings()
        url = parse_database_url(settings.effective_database_url)
        prepare_home(settings.trunkline_home)
        _prepare_database_folder(url)
        asyncio.run(upgrade(url))
    except TrunklineError as error:
        print(f"trunkline: {error}", file=sys.stderr)  # noqa: T201 - this is a command, and this is its answer
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
