"""TeXML, what Telnyx is answered with.

https://developers.telnyx.com/docs/voice/programmable-voice/texml-verbs/stream
"""

from __future__ import annotations

from trunkline.carriers.telnyx.account import TelnyxAccount
from trunkline.carriers.telnyx.wire import MEDIA_FORMATS, MEDIA_PARAMETER, Media
from trunkline.dialects.twiml import TwimlMarkup
from trunkline.telephony.carrier import CarrierAccount

__all__ = ["TelnyxMarkup", "account_markup"]


class TelnyxMarkup(TwimlMarkup):
    """The ``Markup`` of Telnyx.

    Args:
        media: What the stream is to carry, both ways. Other than PCMU is told to the stream's own
            end by a parameter, because a stream's start does not repeat it.
    """

    __slots__ = ()

    def __init__(self, media: Media = Media.PCMU) -> None:
        encoding = MEDIA_FORMATS[media].encoding.value
        attributes = {
            "track": "inbound_track",
            # What we receive. Unasked it is the phone leg's codec: PCMA in Europe, or worse.
            "codec": encoding,
            # Unasked it is mp3, and the bot is silent without an error.
            "bidirectionalMode": "rtp",
            "bidirectionalCodec": encoding,
            # Telnyx would dial the same address again; <Redirect> goes on with the call instead.
            "enableReconnect": "false",
        }
        if media in (Media.L16_BIG, Media.L16_LITTLE):
            rate_hz = MEDIA_FORMATS[media].sample_rate_hz
            attributes["bidirectionalSamplingRate"] = str(rate_hz)
        parameters = {} if media is Media.PCMU else {MEDIA_PARAMETER: media.value}
        super().__init__(stream_attributes=attributes, stream_parameters=parameters)


def account_markup(account: CarrierAccount) -> TelnyxMarkup:
    """Make the markup of an account, with the media that it asks for."""
    return TelnyxMarkup(TelnyxAccount.require(account).media)
