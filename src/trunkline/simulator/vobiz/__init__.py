"""Vobiz's side of a call: REST API, webhooks, XML, streams (docs/carriers/vobiz.md)."""

from __future__ import annotations

import secrets

from pydantic import SecretStr

from trunkline.carriers.vobiz.account import VobizAccount
from trunkline.simulator.play_audio.peculiarities import Peculiarities
from trunkline.simulator.play_audio.service import PlayAudioSimulator
from trunkline.simulator.requester import Overrides
from trunkline.simulator.vobiz import signing

__all__ = ["RULES", "SIMULATOR"]


def _made_up() -> VobizAccount:
    return VobizAccount(
        auth_id="MA_" + secrets.token_hex(4).upper(),
        auth_token=SecretStr(secrets.token_urlsafe(30)),
        phone_number="+15005550006",
    )


RULES = Peculiarities(
    name="vobiz",
    api_root="/api/v1",
    made_up=_made_up,
    sign=signing.sign,
    sign_upgrade=signing.sign_upgrade,
    is_authentic=signing.is_authentic,
    user_agent="vobiz",
    overrides=Overrides(
        connect_timeout_ms=2000,
        total_timeout_ms=15_000,
        retries=2,
        retry_on=frozenset({"ct", "rt", "5xx"}),
    ),
    created_status=200,
    content_types=frozenset({"audio/x-mulaw;rate=8000"}),
    audio_needs_stream_id=True,
    longest_payload_chars=None,
    buffer_ms=None,
    has_dtmf_events=False,
    takes_dtmf=False,
    takes_stop=True,
    hangup_goes_to_answer_url=True,
    has_requests=False,
)

SIMULATOR = PlayAudioSimulator(RULES)
