"""What a process that runs bots may know of our environment: no carrier's secrets, none of ours.

A bot never sees the carrier: it gets no credentials of one. The keys of its AI services stay.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

__all__ = [
    "PRIVATE_NAMES",
    "bot_environment",
    "carrier_prefixes",
    "process_environment",
    "redact",
    "without_secrets",
]

PRIVATE_NAMES = frozenset({"DATABASE_URL", "NATS_URL", "TRUNKLINE_API_KEY", "TRUNKLINE_SECRET_KEY"})
"""Trunkline's own secrets."""

ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""A process that forks must have one thread; numerical libraries start one per core at import."""

SECRET_WORDS = ("KEY", "TOKEN", "SECRET", "PASSWORD", "CREDENTIAL")
SHORTEST_SECRET_CHARS = 6


def without_secrets(variables: Mapping[str, str], *, prefixes: Iterable[str]) -> dict[str, str]:
    """Return ``variables`` without Trunkline's secrets and the carriers' credentials.

    Args:
        variables: The server's own environment.
        prefixes: What the variables of carriers' accounts start with, such as ``CARRIER_``.
    """
    hidden = tuple(prefixes)
    return {
        name: value
        for name, value in variables.items()
        if name not in PRIVATE_NAMES and not name.startswith(hidden)
    }


def bot_environment(variables: Mapping[str, str], *, prefixes: Iterable[str]) -> dict[str, str]:
    """Return what zygotes and bots are given of ``variables``; see ``without_secrets``."""
    return {**ONE_THREAD, **without_secrets(variables, prefixes=prefixes)}


def carrier_prefixes() -> tuple[str, ...]:
    """Return the ``ENV_PREFIX`` of every carrier's account."""
    from trunkline import carriers

    return tuple(carriers.get(name).account.ENV_PREFIX for name in carriers.NAMES)


def process_environment(env_file: Path = Path(".env")) -> dict[str, str]:
    """Return the variables of ``env_file``, with those of this process over them."""
    from dotenv import dotenv_values

    found: dict[str, str] = {}
    if env_file.is_file():
        found.update({k: v for k, v in dotenv_values(env_file).items() if v is not None})
    found.update(os.environ)
    return found


def redact(text: str, variables: Mapping[str, str] | None = None) -> str:
    """Return ``text`` with the value of every variable that looks like a secret replaced.

    Exceptions of foreign code quote what they were given; this keeps keys out of logs and answers.
    """
    for name, value in (os.environ if variables is None else variables).items():
        if len(value) >= SHORTEST_SECRET_CHARS and any(word in name for word in SECRET_WORDS):
            text = text.replace(value, f"<{name}>")
    return text
