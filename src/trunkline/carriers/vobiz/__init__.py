"""Vobiz: Voice XML with streams; like Plivo, and not Plivo (docs/carriers/vobiz.md)."""

from __future__ import annotations

from trunkline.audio import Encoding
from trunkline.carriers.vobiz import markup, rest, webhook, wire
from trunkline.carriers.vobiz.account import VobizAccount
from trunkline.dialects import call_form
from trunkline.telephony.carrier import Carrier, Features, Webhook

__all__ = ["CARRIER"]

CARRIER = Carrier(
    name="vobiz",
    display_name="Vobiz",
    account=VobizAccount,
    features=Features(
        marks=True,
        clear=True,
        dtmf_in=True,
        # Keys end a <Gather>, and there is no event for them during a <Stream>.
        dtmf_as_tones=True,
        dtmf_out=False,
        amd=True,
        cold_transfer=True,
        resumes_stream=True,
        # Only with a maxRetries of the user's own; ours asks for none.
        resumes_stream_by_same_url=True,
        parameters_in_query=True,
        # The socket just closes; the hang-up callback tells why.
        announces_stop=False,
        # time_limit, unless the dial says another; 24 hours at most.
        longest_call_s=4 * 60 * 60,
        # PCMU, unless the account asks for L16.
        received_encodings=(Encoding.PCMU, Encoding.L16),
        sent_encodings=(Encoding.PCMU, Encoding.L16),
        authenticity="HMAC-SHA256 (V3, else V2) of URL and nonce; body not covered, sockets not",
    ),
    new_stream=wire.new_stream,
    stream_options=wire.stream_options,
    new_stream_with=wire.new_stream_with,
    webhook=Webhook(
        account_id=call_form.account_id,
        verify=webhook.verify,
        parse_incoming=webhook.parse_incoming,
        parse_event=webhook.parse_event,
        nonce=webhook.nonce,
        is_report=call_form.is_report,
    ),
    markup=markup.MARKUP,
    account_markup=markup.account_markup,
    new_client=rest.new_client,
)
