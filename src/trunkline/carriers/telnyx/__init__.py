"""Telnyx: TeXML and Call Control, with media streaming (docs/carriers/telnyx.md)."""

from __future__ import annotations

from trunkline.carriers.telnyx import markup, rest, webhook, wire
from trunkline.carriers.telnyx.account import TelnyxAccount
from trunkline.telephony.carrier import Carrier, Features, Webhook

__all__ = ["CARRIER"]

_ENCODINGS = tuple(dict.fromkeys(found.encoding for found in wire.MEDIA_FORMATS.values()))

CARRIER = Carrier(
    name="telnyx",
    display_name="Telnyx",
    account=TelnyxAccount,
    features=Features(
        marks=True,
        clear=True,
        dtmf_in=True,
        # By REST; the media stream has no message for it.
        dtmf_out=True,
        amd=True,
        cold_transfer=True,
        resumes_stream=True,
        # Our markup forbids it; Call Control, and TeXML that users paste, do it.
        resumes_stream_by_same_url=True,
        # Telnyx sends no RTP for a quiet bot, and phone networks end such calls.
        wants_silence=True,
        proof_covers_url=False,
        longest_call_s=4 * 60 * 60,
        pipecat_serializer="pipecat.serializers.telnyx.TelnyxFrameSerializer",
        received_encodings=_ENCODINGS,
        sent_encodings=_ENCODINGS,
        authenticity="Ed25519 over timestamp and body, of webhooks; a token in the socket's path",
    ),
    new_stream=wire.TelnyxStream,
    webhook=Webhook(
        account_id=webhook.account_id,
        verify=webhook.verify,
        parse_incoming=webhook.parse_incoming,
        parse_event=webhook.parse_event,
        is_report=webhook.is_report,
    ),
    markup=markup.TelnyxMarkup(),
    account_markup=markup.account_markup,
    new_client=rest.new_client,
    new_call_control=rest.new_call_control,
)
