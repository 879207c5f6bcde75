"""Exotel: AgentStream over the Voicebot applet and Connect Voice AI (docs/carriers/exotel.md)."""

from __future__ import annotations

from trunkline.audio import Encoding
from trunkline.carriers.exotel import markup, rest, webhook, wire
from trunkline.carriers.exotel.account import ExotelAccount
from trunkline.telephony.carrier import Carrier, Features, Webhook

__all__ = ["CARRIER"]

CARRIER = Carrier(
    name="exotel",
    display_name="Exotel",
    account=ExotelAccount,
    features=Features(
        marks=True,
        clear=True,
        dtmf_in=True,
        dtmf_out=False,
        amd=False,
        # The flow may go on with a Connect applet, which we can neither choose nor address.
        cold_transfer=False,
        # After a lost stream the flow takes its next applet; a Connect Voice AI call ends.
        resumes_stream=False,
        # A failed handshake is tried once more.
        resumes_stream_by_same_url=True,
        # Bursts end Connect Voice AI calls after some seconds. Four messages, or two long ones:
        # the beat at which we send is Exotel's own 100 ms.
        lead_ms=400,
        hangs_up_by_close=True,
        connects_by_event=True,
        proof_covers_url=False,
        longest_call_s=rest.LONGEST_CALL_S,
        pipecat_serializer="pipecat.serializers.exotel.ExotelFrameSerializer",
        received_encodings=(Encoding.L16,),
        sent_encodings=(Encoding.L16,),
        authenticity="nothing is signed: password in the URL, token in the path, list of addresses",
    ),
    new_stream=wire.ExotelStream,
    stream_options=wire.stream_options,
    new_stream_with=wire.new_stream,
    webhook=Webhook(
        account_id=webhook.account_id,
        verify=webhook.verify,
        parse_incoming=webhook.parse_incoming,
        parse_event=webhook.parse_event,
    ),
    verify_upgrade=webhook.verify_upgrade,
    markup=markup.ExotelMarkup(),
    account_markup=markup.for_account,
    new_client=rest.new_client,
)
