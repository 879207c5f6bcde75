from __future__ import annotations

from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, inspect

from trunkline.store.models import METADATA
from trunkline.store.schema import MIGRATIONS


def config(**attributes: object) -> Config:
    found = Config()
    found.set_main_option("script_location", str(MIGRATIONS))
    found.attributes.update(attributes)
    return found


def test_the_connection_is_handed_in(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'a.db'}")
    with engine.connect() as connection:
        command.upgrade(config(connection=connection), "head")
    assert set(METADATA.tables) < set(inspect(engine).get_table_names())
    engine.dispose()


def test_without_one_it_says_how_to_run_it() -> None:
    with pytest.raises(TypeError, match=r"python -m trunkline\.store\.migrate"):
        command.upgrade(config(), "head")
