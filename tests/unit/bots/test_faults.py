from __future__ import annotations

from pipecat.frames.frames import ErrorFrame

from trunkline.bots.faults import MAX_FAULTS, FaultCounter, Remedy
from trunkline.bots.offline.llm import OfflineLLMService
from trunkline.bots.offline.tts import OfflineTTSService


def llm() -> OfflineLLMService:
    return OfflineLLMService(rules=[{"heard": ["x"], "say": "y"}])


def test_missing_answer_is_asked_for_again_until_it_is_too_much() -> None:
    counter = FaultCounter()
    error = ErrorFrame(error="overloaded: sk-secret", processor=llm())
    remedies = [counter.count(error) for _ in range(MAX_FAULTS)]
    assert remedies == [Remedy.RETRY] * (MAX_FAULTS - 1) + [Remedy.FAIL]
    assert counter.failure == "OfflineLLMService failed: unknown"


def test_speech_of_the_bot_forgives() -> None:
    counter = FaultCounter()
    for _ in range(5 * MAX_FAULTS):
        assert counter.count(ErrorFrame(error="x", processor=llm())) is Remedy.RETRY
        counter.succeeded()
    assert counter.failure is None


def test_other_services_get_their_next_chance_with_the_next_piece() -> None:
    assert FaultCounter().count(ErrorFrame(error="x", processor=OfflineTTSService())) is (
        Remedy.IGNORE
    )


async def test_service_that_is_of_no_more_use_fails_at_once() -> None:
    counter = FaultCounter()
    service = llm()
    await service.set_usable(False)
    assert counter.count(ErrorFrame(error="x", processor=service)) is Remedy.FAIL


def test_error_of_nobody() -> None:
    counter = FaultCounter()
    for _ in range(MAX_FAULTS):
        counter.count(ErrorFrame(error="x"))
    assert counter.failure == "the pipeline failed: unknown"
