"""The command line: ``trunkline serve``, ``call``, ``agents``, ``calls``, ``keys``, ``doctor``, ``demo``."""

from __future__ import annotations

from trunkline.cli.application import app

__all__ = ["main"]


def main() -> None:
    """Run the command line; the process's entry point."""
    app()
