"""Twilio: Programmable Voice with Media Streams (docs/carriers/twilio.md)."""

from __future__ import annotations

from trunkline.carriers.twilio import markup, rest, webhook, wire
from trunkline.carriers.twilio.account import TwilioAccount
from trunkline.telephony.carrier import Carrier, Features, Webhook

__all__ = ["CARRIER"]

CARRIER = Carrier(
    name="twilio",
    display_name="Twilio",
    account=TwilioAccount,
    features=Features(
        marks=True,
        clear=True,
        dtmf_in=True,
        # Media Streams has no message for it; tones can be sent as audio.
        dtmf_out=False,
        amd=True,
        cold_transfer=True,
        resumes_stream=True,
        answer_markup_inline_chars=rest.INLINE_MARKUP_CHARS,
        # Four hours unless the account has the 24-hour limit (Twilio's blog, 2021-08-02).
        longest_call_s=4 * 60 * 60,
        pipecat_serializer="pipecat.serializers.twilio.TwilioFrameSerializer",
        received_encodings=(wire.MEDIA_FORMAT.encoding,),
        sent_encodings=(wire.MEDIA_FORMAT.encoding,),
        authenticity="HMAC-SHA1 with the auth token, of webhooks and of socket upgrades",
    ),
    new_stream=wire.TwilioStream,
    webhook=Webhook(
        account_id=webhook.account_id,
        verify=webhook.verify,
        parse_incoming=webhook.parse_incoming,
        parse_event=webhook.parse_event,
    ),
    verify_upgrade=webhook.verify_upgrade,
    markup=markup.TwilioMarkup(),
    new_client=rest.new_client,
)
