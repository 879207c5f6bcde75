"""The socket from Genesys' side: it also speaks unasked, and takes the server's leave."""

from __future__ import annotations

from trunkline.simulator.connection import Dialing, MediaConnection, Words
from trunkline.simulator.faults import Faults
from trunkline.simulator.genesys.stream import GARBAGE, GenesysMedia
from trunkline.simulator.line import Line, LineTick

__all__ = ["GenesysConnection"]

_WORDS = Words(refused="upgrade", lost="1006", slow="slow_reader", garbage=GARBAGE)


class GenesysConnection(MediaConnection):
    """One session.

    Args:
        media: The session's messages.
        line: The call's audio.
        dialing: How to open the socket.
        variables: The action's inputs, for the report.
        faults: What shall go wrong.
    """

    def __init__(
        self,
        *,
        media: GenesysMedia,
        line: Line,
        dialing: Dialing,
        variables: dict[str, str],
        faults: Faults,
    ) -> None:
        super().__init__(
            media=media,
            line=line,
            dialing=dialing,
            words=_WORDS,
            parameters=variables,
            faults=faults,
        )
        self._session = media

    def tick(self, tick: LineTick) -> None:
        """Send what one frame of time brought about, and what the session has to say."""
        for reply in self._session.take_replies():
            self._post(reply)
        # After close no audio follows, and none is sent once the server has left.
        if not self._session.disconnect_reason:
            super().tick(tick)
