"""The command line: serve, call, agents, calls, keys, doctor, demo."""

from __future__ import annotations

import logging
import sys

import structlog

from trunkline.cli.application import app

__all__ = ["main"]


def main() -> None:
    """Run the command line; the process's entry point."""
    # Standard output belongs to what a command prints, and its errors are lines of their own.
    # The server sets up its own log.
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    app()
