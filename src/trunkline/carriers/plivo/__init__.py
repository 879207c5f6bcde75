"""Plivo: Voice with Audio Streaming (docs/carriers/plivo.md)."""

from __future__ import annotations

from trunkline.audio import Encoding
from trunkline.carriers.plivo import markup, rest, webhook, wire
from trunkline.carriers.plivo.account import PlivoAccount
from trunkline.dialects import call_form
from trunkline.telephony.carrier import Carrier, Features, Webhook

__all__ = ["CARRIER"]

CARRIER = Carrier(
    name="plivo",
    display_name="Plivo",
    account=PlivoAccount,
    features=Features(
        marks=True,
        clear=True,
        dtmf_in=True,
        dtmf_out=True,
        amd=True,
        cold_transfer=True,
        resumes_stream=True,
        # One edition of the best-practice page says twice after a drop, another not at all.
        resumes_stream_by_same_url=True,
        parameters_in_query=True,
        # The socket just closes; the hang-up callback tells why.
        announces_stop=False,
        # time_limit, unless the dial says another.
        longest_call_s=4 * 60 * 60,
        pipecat_serializer="pipecat.serializers.plivo.PlivoFrameSerializer",
        # Our markup asks for PCMU; a document of the user's own may ask for L16.
        received_encodings=(Encoding.PCMU, Encoding.L16),
        sent_encodings=(Encoding.PCMU, Encoding.L16),
        authenticity="HMAC-SHA256 (V3) with the auth token, of webhooks and of socket upgrades",
    ),
    new_stream=wire.new_stream,
    webhook=Webhook(
        account_id=call_form.account_id,
        verify=webhook.verify,
        parse_incoming=call_form.parse_incoming,
        parse_event=call_form.parse_event,
        nonce=webhook.nonce,
        is_report=call_form.is_report,
    ),
    verify_upgrade=webhook.verify_upgrade,
    markup=markup.MARKUP,
    new_client=rest.new_client,
)
