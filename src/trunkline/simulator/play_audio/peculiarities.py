"""What tells the carriers apart that speak this dialect."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from starlette.requests import Request

from trunkline.dialects.auth_account import AuthAccount
from trunkline.simulator.requester import Overrides

__all__ = ["Fields", "Peculiarities"]

Fields: TypeAlias = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Peculiarities:
    """One carrier, as far as it differs."""

    name: str
    api_root: str
    """What stands before ``/Account/`` in the path of a REST URL."""
    made_up: Callable[[], AuthAccount]
    """Makes an account where none is given."""
    sign: Callable[[str, str, str, Fields], Mapping[str, str]]
    """Headers of a webhook, from auth token, method, URL and the fields of the body."""
    sign_upgrade: Callable[[str, str], Mapping[str, str]]
    """Headers of a socket's upgrade, from auth token and URL."""
    is_authentic: Callable[[Request, Mapping[str, str]], bool]
    """Whether a REST request shows one of these credentials (auth id → token)."""
    user_agent: str
    overrides: Overrides
    """Time-outs and retries of webhooks."""
    created_status: int
    """HTTP status of a dial that is accepted."""
    content_types: frozenset[str]
    """``contentType`` of a ``<Stream>`` that is connected; others never are."""
    audio_needs_stream_id: bool
    """``playAudio`` of a stream that it does not name is ignored."""
    longest_payload_chars: int | None
    """Base64 in one ``playAudio``, at most."""
    buffer_ms: int | None
    """Longest audio that waits to be played; more is an overflow. None: any."""
    has_dtmf_events: bool
    """A key is a message; else its tone is in the caller's audio."""
    takes_dtmf: bool
    """There is a ``sendDTMF`` of the server's."""
    takes_stop: bool
    """There is a ``stop`` of the server's."""
    hangup_goes_to_answer_url: bool
    """Where a number has no hang-up URL, its answer URL hears of the end."""
    has_requests: bool
    """An unanswered dial is cancelled under ``/Request/``."""
