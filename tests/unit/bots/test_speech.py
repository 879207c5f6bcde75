from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.support.scripted_gateway import PCMU, ScriptedGateway, call_started
from tests.support.waiting import eventually
from trunkline.audio import encode
from trunkline.bots.ledger import SpeechLedger
from trunkline.bots.speech import SpeechWriter
from trunkline.dispatch.messages import AgentSpec, UtteranceEnd


@pytest.fixture
async def gateway() -> AsyncIterator[ScriptedGateway]:
    found = ScriptedGateway()
    await found.connect(call_started(AgentSpec(name="a", kind="pipeline")))
    yield found
    found.disconnect()


def writer(gateway: ScriptedGateway) -> tuple[SpeechWriter, SpeechLedger]:
    assert gateway.session is not None
    ledger = SpeechLedger()
    return SpeechWriter(gateway.session, ledger), ledger


async def ended(gateway: ScriptedGateway, n: int) -> None:
    await eventually(lambda: len(gateway.all(UtteranceEnd)) == n, what="the utterance's end")


async def test_every_sample_arrives_in_order_whatever_the_chunks(gateway: ScriptedGateway) -> None:
    speech, _ = writer(gateway)
    pcm16 = b"".join((100 * i % 30_000).to_bytes(2, "little") for i in range(20_003))
    speech.begin("a", interruptible=True)
    for start in range(0, len(pcm16), 2 * 777):
        speech.write(pcm16[start : start + 2 * 777], 8000)
    speech.end()
    await ended(gateway, 1)
    expected = encode(pcm16, PCMU)
    assert gateway.audio_of(1)[: len(expected)] == expected
    padding = gateway.audio_of(1)[len(expected) :]
    assert padding == b"\xff" * 5, "filled up to a whole millisecond"


async def test_new_utterance_ends_the_one_before(gateway: ScriptedGateway) -> None:
    speech, ledger = writer(gateway)
    speech.begin("a", interruptible=True)
    speech.write(bytes(320), 8000)
    speech.begin("b", interruptible=True)
    speech.write(bytes(320), 8000)
    await ended(gateway, 1)
    assert ledger.current == 2
    speech.end()
    speech.end()
    await ended(gateway, 2)


async def test_other_rates_are_resampled_to_their_full_length(gateway: ScriptedGateway) -> None:
    speech, _ = writer(gateway)
    speech.begin("a", interruptible=True)
    for _ in range(50):
        speech.write(bytes(2 * 480), 24_000)
    speech.end()
    await ended(gateway, 1)
    assert abs(len(gateway.audio_of(1)) - 8_000) <= 80


async def test_dropped_utterance_leaves_nothing_for_the_next(gateway: ScriptedGateway) -> None:
    speech, ledger = writer(gateway)
    speech.begin("a", interruptible=True)
    speech.write(b"\x11\x11" * 13, 8000)
    speech.drop()
    assert ledger.current is None
    speech.begin("b", interruptible=True)
    speech.write(bytes(160), 8000)
    speech.end()
    await ended(gateway, 1)
    assert gateway.audio_of(2) == encode(bytes(160), PCMU)
