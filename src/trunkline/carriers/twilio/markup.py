"""TwiML, what Twilio is answered with (https://www.twilio.com/docs/voice/twiml)."""

from __future__ import annotations

from trunkline.dialects.twiml import PARAMETER_CHARS, TwimlMarkup

__all__ = ["PARAMETER_CHARS", "TwilioMarkup"]


class TwilioMarkup(TwimlMarkup):
    """The ``Markup`` of Twilio."""

    __slots__ = ()

    def __init__(self) -> None:
        # A caller who was not answered hears ringing until someone picks up.
        super().__init__(dial_attributes={"answerOnBridge": "true"})
