"""What Exotel is answered with: JSON with the media URL, or the markup that some set-ups expect.

https://developer.exotel.com/docs/agentstream
"""

from __future__ import annotations

import orjson

from trunkline.carriers.exotel.account import SAMPLE_RATES_HZ, ExotelAccount
from trunkline.dialects.twiml import TwimlMarkup
from trunkline.errors import UnsupportedByCarrier
from trunkline.telephony.carrier import CarrierAccount, Markup, StreamConnect
from trunkline.telephony.webhook import Document

__all__ = ["ExotelMarkup", "for_account", "name_sample_rate"]

_JSON = "application/json"
_GONE, _SERVICE_UNAVAILABLE = 410, 503


class ExotelMarkup:
    """The ``Markup`` of Exotel.

    Its flow, made in its console, decides what callers hear beside the bot. All that we can do is
    to name the media URL, or to fail the applet, upon which the flow takes the next one.

    Args:
        sample_rate_hz: Asked for in the URL; one of ``SAMPLE_RATES_HZ``.
    """

    __slots__ = ("_sample_rate_hz",)

    def __init__(self, *, sample_rate_hz: int = SAMPLE_RATES_HZ[0]) -> None:
        self._sample_rate_hz = sample_rate_hz

    def fits(self, name: str, value: str) -> bool:
        """Nothing does: a URL bears three parameters, and outbound calls lose even these.

        What the bot needs is found by the token in the path.
        """
        return False

    def connect(self, stream: StreamConnect) -> Document:
        """``{"url": …}`` for who asks for JSON, as documented; else ``<Connect><Stream>``.

        No document of Exotel's knows the markup; set-ups that POST expect it.
        """
        url = name_sample_rate(stream.stream_url, self._sample_rate_hz)
        if stream.as_json:
            return Document(content_type=_JSON, body=orjson.dumps({"url": url}))
        # Nothing may follow the stream: the flow does.
        return TwimlMarkup().connect(StreamConnect(stream_url=url))

    def hangup(self) -> Document:
        """Fail the applet: the flow goes on with the next one, which ends the call."""
        return _refusal(_GONE, "call_over")

    def reject(self) -> Document:
        """Fail the applet: the flow goes on with the next one, which tells the caller."""
        return _refusal(_SERVICE_UNAVAILABLE, "busy")

    def say(self, text: str) -> Document:
        """Exotel speaks texts of its flow only.

        Raises:
            UnsupportedByCarrier: Always. The route's answer to that fails the applet, too.
        """
        raise UnsupportedByCarrier("exotel", "messages in its own voice")

    def forward(self, to_number: str, *, caller_id: str | None = None) -> Document:
        """Exotel forwards to numbers of its flow only.

        Raises:
            UnsupportedByCarrier: Always. The route's answer to that fails the applet, too.
        """
        raise UnsupportedByCarrier("exotel", "forwarding by an answer")

    def accept_event(self) -> Document:
        """Nothing: any body will do, and 200 is branch A of a Passthru applet."""
        return Document(content_type="text/plain", body=b"")


def for_account(account: CarrierAccount) -> Markup:
    """Return the markup that asks for the account's sample rate."""
    return ExotelMarkup(sample_rate_hz=ExotelAccount.require(account).sample_rate_hz)


def name_sample_rate(url: str, sample_rate_hz: int) -> str:
    """Add the sample rate to a media URL, unless it is the default: some accounts lose queries."""
    if sample_rate_hz == SAMPLE_RATES_HZ[0]:
        return url
    return f"{url}{'&' if '?' in url else '?'}sample-rate={sample_rate_hz}"


def _refusal(status: int, error: str) -> Document:
    return Document(content_type=_JSON, body=orjson.dumps({"error": error}), status=status)
