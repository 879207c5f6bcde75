"""Plivo's side of a call: REST API, webhooks, XML, Audio Streaming (docs/carriers/plivo.md)."""

from __future__ import annotations

import secrets

from pydantic import SecretStr

from trunkline.carriers.plivo.account import PlivoAccount
from trunkline.simulator.play_audio.peculiarities import Peculiarities
from trunkline.simulator.play_audio.service import PlayAudioSimulator
from trunkline.simulator.plivo import signing
from trunkline.simulator.requester import Overrides

__all__ = ["RULES", "SIMULATOR"]


def _made_up() -> PlivoAccount:
    return PlivoAccount(
        auth_id="MA" + secrets.token_hex(9).upper(),
        auth_token=SecretStr(secrets.token_urlsafe(30)),
        phone_number="+15005550006",
    )


RULES = Peculiarities(
    name="plivo",
    api_root="/v1",
    made_up=_made_up,
    sign=signing.sign,
    sign_upgrade=signing.sign_upgrade,
    is_authentic=signing.is_authentic,
    user_agent="Plivo",
    overrides=Overrides(
        connect_timeout_ms=2000,
        total_timeout_ms=15_000,
        retries=1,
        retry_on=frozenset({"ct", "rt"}),
    ),
    created_status=201,
    content_types=frozenset({"audio/x-mulaw;rate=8000"}),
    audio_needs_stream_id=False,
    longest_payload_chars=16 * 1024,
    buffer_ms=40_000,
    has_dtmf_events=True,
    takes_dtmf=True,
    takes_stop=False,
    hangup_goes_to_answer_url=False,
    has_requests=True,
)

SIMULATOR = PlayAudioSimulator(RULES)
