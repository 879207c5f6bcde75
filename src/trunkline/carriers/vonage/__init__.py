"""Vonage: Voice API with websocket endpoints (docs/carriers/vonage.md)."""

from __future__ import annotations

from trunkline.audio import Encoding
from trunkline.carriers.vonage import markup, rest, webhook, wire
from trunkline.carriers.vonage.account import VonageAccount
from trunkline.telephony.carrier import Carrier, Features, Webhook

__all__ = ["CARRIER"]

CARRIER = Carrier(
    name="vonage",
    display_name="Vonage",
    account=VonageAccount,
    features=Features(
        marks=True,
        clear=True,
        dtmf_in=True,
        # The media socket has no message for it; the REST client presses keys.
        dtmf_out=False,
        amd=True,
        cold_transfer=True,
        # By a new connect, in answer to the lost socket's event or by REST.
        resumes_stream=True,
        announces_stop=False,
        proof_covers_url=False,
        # limit and length_timer, unless less is asked for (NCCO reference, 2026-10).
        longest_call_s=2 * 60 * 60,
        pipecat_serializer="pipecat.serializers.vonage.VonageFrameSerializer",
        received_encodings=(Encoding.L16,),
        sent_encodings=(Encoding.L16,),
        authenticity="HS256 token with the body's SHA-256, of webhooks; HS256 token of upgrades",
    ),
    new_stream=wire.VonageStream,
    webhook=Webhook(
        account_id=webhook.account_id,
        verify=webhook.verify,
        parse_incoming=webhook.parse_incoming,
        parse_event=webhook.parse_event,
        is_report=webhook.is_report,
        nonce=webhook.nonce,
    ),
    verify_upgrade=webhook.verify_upgrade,
    markup=markup.VonageMarkup(),
    account_markup=markup.account_markup,
    new_client=rest.new_client,
)
