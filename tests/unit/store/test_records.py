from __future__ import annotations

import inspect
from dataclasses import FrozenInstanceError, fields, is_dataclass

import pytest

from tests.support.stores import make_call
from trunkline.store import InMemoryStore, SqlStore, Store, records


@pytest.mark.parametrize("implementation", [InMemoryStore, SqlStore])
def test_every_method_is_implemented_as_the_contract_says(implementation: type) -> None:
    names = [name for name, _ in inspect.getmembers(Store, inspect.iscoroutinefunction)]
    assert len(names) > 20

    for name in names:
        assert name in vars(implementation), name
        ours = inspect.signature(getattr(implementation, name))
        assert ours == inspect.signature(getattr(Store, name)), name


def test_the_package_gives_out_all_records() -> None:
    from trunkline import store

    assert set(records.__all__) <= set(store.__all__)
    assert store.__all__ == sorted(store.__all__)


@pytest.mark.parametrize("name", records.__all__)
def test_records_take_their_fields_by_name_only(name: str) -> None:
    kind = getattr(records, name)
    if not is_dataclass(kind):
        return
    assert all(field.kw_only for field in fields(kind))
    assert "__slots__" in vars(kind)


def test_records_do_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        make_call().state = None  # type: ignore[misc]  # that is the point
