"""The demo's agent, as it is shipped, in the demo's conversation."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.scripted_gateway import bot_call, call_started
from tests.support.waiting import eventually
from trunkline.audio import resample
from trunkline.bots import load
from trunkline.bots.offline.speech import Synthesizer
from trunkline.dispatch.messages import AgentSpec, TranscriptLine

FRONT_DESK = Path(__file__).parents[3] / "examples" / "front_desk.json"


def spoken(text: str) -> bytes:
    pcm16, rate_hz = Synthesizer().speak(text)
    return resample(pcm16, rate_hz, 8000)


async def test_front_desk_holds_the_conversation_of_the_demo() -> None:
    row = json.loads(FRONT_DESK.read_text())
    spec = AgentSpec(name=row["name"], kind=row["kind"], pipeline=row["pipeline"])
    async with bot_call(load(spec), call_started(spec), speed=20) as call:
        gateway = call.gateway
        await eventually(lambda: len(gateway.transcript) == 1, what="the greeting")
        gateway.speak(spoken("what are your opening hours"))
        await gateway.said("We are open from nine to five, Monday to Friday.")
        gateway.speak(spoken("can i talk to sales please"))
        await gateway.said("Press one for sales, or two for the workshop.")
        gateway.press("1")
        await gateway.said("You have reached sales. A colleague will call you back today.")
        gateway.speak(spoken("tell me about your bicycles"))
        await gateway.hears(4_000)
        gateway.speak(spoken("thank you that is enough"))
        await gateway.said("All right. What else can I do for you?")
        gateway.speak(spoken("thank you goodbye"))
        await call.finished()
        await eventually(lambda: gateway.has_ended_call, what="the end of the call")
    said = [text for speaker, text in gateway.transcript if speaker == "caller"]
    assert said == [
        "what are your opening hours",
        "can i talk to sales please",
        "[dtmf 1]",
        "tell me about your bicycles",
        "thank you that is enough",
        "thank you goodbye",
    ]
    cut = [m for m in gateway.received if isinstance(m, TranscriptLine) and m.interrupted]
    assert len(cut) == 1
    assert cut[0].heard_text
    assert cut[0].text.startswith(cut[0].heard_text)
    assert gateway.clears == 1
    assert gateway.transcript[-1] == ("bot", "Thank you for calling. Goodbye.")
