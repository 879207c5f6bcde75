from __future__ import annotations

from trunkline.simulator.connection import Dialing
from trunkline.simulator.faults import Faults
from trunkline.simulator.genesys.connection import GenesysConnection
from trunkline.simulator.genesys.stream import FRAME_MS, MEDIA_FORMAT, GenesysMedia
from trunkline.simulator.line import Line


def test_what_has_to_be_said_is_taken_at_the_next_tick() -> None:
    media = GenesysMedia(
        organization_id="o1",
        session_id="s1",
        conversation_id="c1",
        from_number="",
        to_number="",
    )
    line = Line(media_format=MEDIA_FORMAT, frame_ms=FRAME_MS)
    connection = GenesysConnection(
        media=media,
        line=line,
        dialing=Dialing(url="ws://127.0.0.1:9/", headers={}),
        variables={},
        faults=Faults(),
    )
    media.skip(MEDIA_FORMAT.n_bytes(5_000))
    connection.tick(line.tick())
    assert media.take_replies() == []
