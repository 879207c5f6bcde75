"""The parts that need no pipeline; conversations are in tests/integration/bots."""

from __future__ import annotations

import pytest

from tests.support.scripted_gateway import PCMU
from trunkline.bots.transport import MAX_WAITING_MS, ChannelInput, with_heard_text
from trunkline.dispatch.messages import DtmfPressed

SYSTEM = {"role": "system", "content": "You are."}
GREETING = {"role": "assistant", "content": "Hello."}
QUESTION = {"role": "user", "content": "Hours?"}


def said(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


@pytest.mark.parametrize(
    ("messages", "index", "expected"),
    [
        ([SYSTEM, QUESTION], 2, [SYSTEM, QUESTION, said("We are open")]),
        ([SYSTEM, QUESTION, said("We are")], 2, [SYSTEM, QUESTION, said("We are open")]),
        ([SYSTEM, QUESTION, said("We  are\nopen")], 2, [SYSTEM, QUESTION, said("We are open")]),
        ([SYSTEM, GREETING], 2, [SYSTEM, GREETING, said("We are open")]),
        ([SYSTEM, GREETING], 1, [SYSTEM, said("We are open"), GREETING]),
        ([SYSTEM, QUESTION], 1, [SYSTEM, said("We are open"), QUESTION]),
        (
            [SYSTEM, QUESTION, said("We"), QUESTION],
            2,
            [SYSTEM, QUESTION, said("We are open"), QUESTION],
        ),
        ([SYSTEM], 7, [SYSTEM, said("We are open")]),
    ],
)
def test_what_was_heard_takes_its_place(
    messages: list[object], index: int, expected: list[object]
) -> None:
    before = list(messages)
    assert with_heard_text(messages, "We are open", index) == expected
    assert messages == before, "a new list, and the old one as it was"


def test_caller_audio_that_nobody_takes_is_bounded_and_the_newest_is_kept() -> None:
    caller = ChannelInput(received_format=PCMU, frame_ms=40)
    for number in range(2 * MAX_WAITING_MS // 20):
        caller.audio(bytes([number % 256]) * 160)
    caller.message(DtmfPressed(digit="1"))
    audio = [item for item in caller._waiting if isinstance(item, bytes)]  # noqa: SLF001
    assert PCMU.duration_ms(sum(map(len, audio))) <= MAX_WAITING_MS
    last = (2 * MAX_WAITING_MS // 20 - 1) % 256
    assert audio[-1].endswith(bytes([last]) * 160)
    assert caller._waiting[-1] == DtmfPressed(digit="1")  # noqa: SLF001


def test_events_keep_their_place_among_the_audio() -> None:
    caller = ChannelInput(received_format=PCMU, frame_ms=40)
    caller.audio(b"\x01" * 160)
    caller.message(DtmfPressed(digit="1"))
    caller.audio(b"\x02" * 160)
    caller.audio(b"\x03" * 160)
    assert list(caller._waiting) == [  # noqa: SLF001
        b"\x01" * 160,
        DtmfPressed(digit="1"),
        b"\x02" * 160 + b"\x03" * 160,
    ]
