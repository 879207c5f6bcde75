"""Genesys Cloud: Audio Connector over AudioHook (docs/carriers/genesys.md)."""

from __future__ import annotations

from trunkline.carriers.genesys import webhook, wire
from trunkline.carriers.genesys.account import GenesysAccount
from trunkline.telephony.carrier import Carrier, Features

__all__ = ["CARRIER"]

CARRIER = Carrier(
    name="genesys",
    display_name="Genesys Cloud",
    account=GenesysAccount,
    features=Features(
        # What has been played is estimated.
        marks=False,
        clear=True,
        dtmf_in=True,
        dtmf_out=False,
        amd=False,
        # The flow may transfer the call once the bot has left; we cannot.
        cold_transfer=False,
        resumes_stream=False,
        # Messages are 200 to 400 ms long, and caller audio, at whose beat we send, comes every
        # 200 ms.
        lead_ms=800,
        hangs_up_by_close=True,
        closes_stream_itself=True,
        pipecat_serializer="pipecat.serializers.genesys.GenesysAudioHookSerializer",
        received_encodings=(wire.MEDIA_FORMAT.encoding,),
        sent_encodings=(wire.MEDIA_FORMAT.encoding,),
        authenticity="API key, and HMAC-SHA256 over URL and ids of socket upgrades, each used once",
    ),
    new_stream=wire.GenesysStream,
    verify_upgrade=webhook.verify_upgrade,
    upgrade_nonce=webhook.upgrade_nonce,
)
