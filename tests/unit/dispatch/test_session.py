from __future__ import annotations

import asyncio

from trunkline.audio import Encoding, MediaFormat
from trunkline.dispatch.channel import Channel
from trunkline.dispatch.messages import (
    AgentSpec,
    CallFacts,
    CallStarted,
    DtmfPressed,
    Message,
    SessionEnding,
)
from trunkline.dispatch.session import BACKLOG_FRAMES, WorkerSession

PCMU = MediaFormat(encoding=Encoding.PCMU, sample_rate_hz=8000)


def new_session() -> WorkerSession:
    call = CallStarted(
        facts=CallFacts(
            call_id="c1",
            carrier="test",
            direction="inbound",
            agent=AgentSpec(name="a", kind="module"),
        ),
        stream_id="s1",
        carrier_call_id="cc1",
        received_format=PCMU,
        sent_format=PCMU,
    )
    return WorkerSession(
        call, Channel(on_message=lambda _: None, on_closed=lambda _: None, sender="test")
    )


async def test_what_came_before_the_handlers_is_delivered_in_order() -> None:
    session, got = new_session(), list[Message | bytes]()
    arrived = [b"1", DtmfPressed(digit="2"), b"3"]
    for item in arrived:
        session.deliver(item)
    session.on_message(got.append)
    session.on_audio(got.append)
    assert got == []
    await asyncio.sleep(0)
    assert got == arrived
    session.deliver(b"4")
    assert got[-1] == b"4"


async def test_what_has_no_handler_is_dropped_once_another_is_there() -> None:
    session, got = new_session(), list[Message]()
    session.deliver(b"audio")
    session.deliver(DtmfPressed(digit="1"))
    session.on_message(got.append)
    await asyncio.sleep(0)
    session.deliver(b"audio")
    session.deliver(SessionEnding(reason="stop"))
    assert got == [DtmfPressed(digit="1"), SessionEnding(reason="stop")]


async def test_a_bot_that_never_listens_keeps_a_bounded_backlog() -> None:
    session, got = new_session(), list[bytes]()
    for number in range(BACKLOG_FRAMES + 10):
        session.deliver(number.to_bytes(2, "big"))
    session.on_audio(got.append)
    await asyncio.sleep(0)
    assert len(got) == BACKLOG_FRAMES
    assert got[-1] == (BACKLOG_FRAMES + 9).to_bytes(2, "big"), "the oldest are dropped"


async def test_it_knows_its_call_and_whether_the_gateway_is_there() -> None:
    session = new_session()
    assert session.call_id == "c1"
    assert not session.is_closed
    session.channel.close()
    assert session.is_closed
    session.send(DtmfPressed(digit="1"))
    session.send_audio_out(1, 0, b"")
