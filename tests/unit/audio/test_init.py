"""The package exports what its modules export."""

from __future__ import annotations

import importlib
import pkgutil

import trunkline.audio as audio


def test_the_package_exports_exactly_what_its_modules_export() -> None:
    exported = {
        name
        for module in pkgutil.iter_modules(audio.__path__)
        for name in importlib.import_module(f"trunkline.audio.{module.name}").__all__
    }
    assert set(audio.__all__) == exported
    assert all(hasattr(audio, name) for name in exported)
