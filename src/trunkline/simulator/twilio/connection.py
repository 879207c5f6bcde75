"""The media socket from Twilio's side: its upgrade is signed."""

from __future__ import annotations

import ssl
from dataclasses import dataclass

from trunkline.simulator import connection
from trunkline.simulator.connection import Words
from trunkline.simulator.faults import Fault, Faults
from trunkline.simulator.line import Line
from trunkline.simulator.twilio.signing import sign_upgrade
from trunkline.simulator.twilio.stream import GARBAGE, TwilioMedia
from trunkline.simulator.twilio.twiml import Connect

__all__ = ["Dialing", "MediaConnection"]

_WORDS = Words(refused="31920", lost="31921", slow="31930", garbage=GARBAGE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialing:
    """How sockets are opened."""

    auth_token: str
    via: str | None = None
    tls: ssl.SSLContext | None = None


class MediaConnection(connection.MediaConnection):
    """One ``<Connect><Stream>``.

    Args:
        verb: What the markup says.
        media: The stream's messages.
        line: The call's audio.
        dialing: How to open the socket.
        faults: What shall go wrong.
    """

    def __init__(
        self, *, verb: Connect, media: TwilioMedia, line: Line, dialing: Dialing, faults: Faults
    ) -> None:
        wrong = "?" if faults.has(Fault.BAD_UPGRADE_SIGNATURE) else ""
        signature = sign_upgrade(dialing.auth_token + wrong, verb.url)
        super().__init__(
            media=media,
            line=line,
            dialing=connection.Dialing(
                url=verb.url,
                headers={
                    "x-twilio-signature": signature,
                    "User-Agent": "TwilioMediaStreams/1.0",
                },
                via=dialing.via,
                tls=dialing.tls,
            ),
            words=_WORDS,
            parameters=verb.parameters,
            faults=faults,
        )
