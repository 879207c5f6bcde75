"""What tests of the simulated ``playAudio`` carriers need: the carrier, a server, and its words."""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable
from typing import Any

from tests.support.bot_server import Received, Stream, bot_server, markup
from trunkline import carriers
from trunkline.audio import encode, tone
from trunkline.simulator import get
from trunkline.simulator.caller import Caller
from trunkline.simulator.contract import Ring, Setup
from trunkline.simulator.faults import Fault, Faults
from trunkline.simulator.play_audio.service import PlayAudioService, PlayAudioSimulator
from trunkline.simulator.play_audio.stream import MEDIA_FORMAT
from trunkline.telephony.carrier import Carrier, CarrierAccount, DialOrder, StreamConnect
from trunkline.telephony.webhook import Document, WebhookRequest

SPEECH = encode(tone(440, 200, 8000), MEDIA_FORMAT)


def opened(name: str, **setup: Any) -> Any:
    simulator = get(name)
    assert isinstance(simulator, PlayAudioSimulator)
    return simulator.open(Setup(**setup))


def account_of(service: PlayAudioService) -> tuple[Carrier, CarrierAccount]:
    """What a Trunkline server makes of the simulator's environment."""
    carrier = carriers.get(service.rules.name)
    prefix = carrier.account.ENV_PREFIX
    fields = {
        name.removeprefix(prefix).lower(): value for name, value in service.environment.items()
    }
    return carrier, carrier.account.model_validate(fields)


def as_webhook(received: Received, url: str) -> WebhookRequest:
    return WebhookRequest(
        method=received.method,
        url=url + received.path + (f"?{received.query}" if received.query else ""),
        headers=list(received.headers.items()),
        body=received.body,
    )


async def say(stream: Stream, payload: bytes) -> None:
    media = {
        "contentType": "audio/x-mulaw",
        "sampleRate": 8000,
        "payload": base64.b64encode(payload).decode(),
    }
    await stream.send({"event": "playAudio", "streamId": stream_id(stream), "media": media})


def stream_id(stream: Stream) -> str:
    start = next(each for each in stream.messages if each["event"] == "start")
    found = start["start"]
    assert isinstance(found, dict)
    return str(found["streamId"])


def connecting(server_url: str, **changes: str) -> str:
    attributes = {
        "bidirectional": "true",
        "keepCallAlive": "true",
        "contentType": "audio/x-mulaw;rate=8000",
        **changes,
    }
    text = " ".join(f'{key}="{value}"' for key, value in attributes.items())
    url = server_url.replace("http", "ws") + "/ws"
    return f"<Response><Stream {text}>{url}</Stream></Response>"


async def ring_with(
    name: str, talk: Callable[[Stream], Awaitable[None]], caller: Caller, *faults: Fault
) -> tuple[Any, Any]:
    def answer(received: Received) -> object:
        return markup(connecting(server.url))

    async with bot_server(answer, talk) as server, opened(name) as service:
        report = await service.ring(
            Ring(
                webhook_url=f"{server.url}/inbound",
                caller=caller,
                faults=Faults(wanted=frozenset(faults), after_ms=100),
            )
        )
    return report, server


def order(url: str, **changes: Any) -> DialOrder:
    fields: dict[str, Any] = {
        "call_id": "c1",
        "to_number": "+14155550100",
        "from_number": "+15005550006",
        "stream": StreamConnect(stream_url="wss://voice.example.test/ws"),
        "answer": Document(content_type="application/xml", body=b"<Response/>"),
        "answer_url": f"{url}/answer",
        "status_url": f"{url}/events",
    }
    return DialOrder(**{**fields, **changes})
