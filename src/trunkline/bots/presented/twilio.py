"""Twilio Media Streams, as Twilio speaks it to a bot.

https://www.twilio.com/docs/voice/media-streams/websocket-messages. Counters and times are strings
there, and audio is always PCMU at 8000 Hz; a call in another encoding is converted, since a bot
written for Twilio knows no other.

Hanging up. When its pipeline ends, Pipecat's serializer asks Twilio's REST API to complete the
call, while it keeps the socket open. A bot in Trunkline has no credentials, so this request could
only fail, late, and tell a third party the call's id. ``prepare`` turns the option off, through the
serializer's public ``InputParams``; the bot then just closes its socket, and that ends the call. A
bot that uses Twilio's REST API by itself still gets what its own credentials are worth.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import cast

import orjson

from trunkline.audio import Encoding, MediaFormat, Resampler, decode, encode
from trunkline.bots.presented.dialect import BotCommand, Clear, Dialect, Mark, Speak
from trunkline.dispatch.messages import CallStarted
from trunkline.errors import RemoteProtocolError

__all__ = ["DIALECT", "TwilioStream"]

_FORMAT = MediaFormat(encoding=Encoding.PCMU, sample_rate_hz=8000)


class TwilioStream:
    """One call as Twilio would tell it."""

    def __init__(self, call: CallStarted) -> None:
        self._call = call
        self._sequence = 0
        self._chunk = 0
        self._received_bytes = 0
        self._to_bot = _Converter(call.received_format, _FORMAT)
        self._from_bot = _Converter(_FORMAT, call.sent_format)

    def opening(self) -> list[str]:
        """``connected`` and ``start``, in this order and before any media."""
        connected = {"event": "connected", "protocol": "Call", "version": "1.0.0"}
        return [_text(connected), self._message("start", self._start())]

    def _start(self) -> dict[str, object]:
        call = self._call
        facts = call.facts
        numbers = {"from_number": facts.from_number, "to_number": facts.to_number}
        return {
            "accountSid": facts.account_id or "AC" + "0" * 32,
            "streamSid": call.stream_id,
            "callSid": call.carrier_call_id,
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
            "customParameters": {
                **{name: number for name, number in numbers.items() if number},
                **facts.parameters,
                **call.parameters,
            },
        }

    def audio(self, payload: bytes) -> str:
        """``media``: counted and timed from the start of the stream."""
        payload = self._to_bot.convert(payload)
        self._chunk += 1
        timestamp_ms = _FORMAT.duration_ms(self._received_bytes)
        self._received_bytes += len(payload)
        return self._message(
            "media",
            {
                "track": "inbound",
                "chunk": str(self._chunk),
                "timestamp": str(timestamp_ms),
                "payload": base64.b64encode(payload).decode(),
            },
        )

    def dtmf(self, digit: str) -> str:
        """``dtmf``: Twilio gives keys no duration."""
        return self._message("dtmf", {"track": "inbound_track", "digit": digit})

    def mark(self, name: str) -> str:
        """``mark``: a mark that was flushed by a clear is echoed just the same."""
        return self._message("mark", {"name": name})

    def closing(self) -> list[str]:
        """``stop``."""
        start = self._start()
        return [self._message("stop", {key: start[key] for key in ("accountSid", "callSid")})]

    def read(self, text: str) -> BotCommand | None:
        """``media``, ``mark`` and ``clear``; other events are ignored, as Twilio does."""
        try:
            message = cast("object", orjson.loads(text))
        except orjson.JSONDecodeError as error:
            raise RemoteProtocolError("the bot's message is not JSON", close_code=1007) from error
        match message:
            case {"event": "media", "media": {"payload": str(payload)}}:
                return Speak(self._from_bot.convert(_unpacked(payload)))
            case {"event": "mark", "mark": {"name": str(name)}}:
                return Mark(name)
            case {"event": "clear"}:
                return Clear()
            case {"event": str()}:
                return None
            case _:
                raise RemoteProtocolError("the bot's message has no event")

    def _message(self, event: str, data: dict[str, object]) -> str:
        self._sequence += 1
        return _text(
            {
                "event": event,
                "sequenceNumber": str(self._sequence),
                event: data,
                "streamSid": self._call.stream_id,
            }
        )


class _Converter:
    """Payload of one format to another; where they are equal nothing is touched."""

    def __init__(self, source: MediaFormat, target: MediaFormat) -> None:
        self._source = source
        self._target = target
        self._resampler = (
            None
            if source.sample_rate_hz == target.sample_rate_hz
            else Resampler(source.sample_rate_hz, target.sample_rate_hz)
        )

    def convert(self, payload: bytes) -> bytes:
        if self._source == self._target:
            return payload
        pcm16 = decode(payload, self._source)
        if self._resampler is not None:
            pcm16 = self._resampler.process(pcm16)
        return encode(pcm16, self._target)


def _unpacked(payload: str) -> bytes:
    try:
        return base64.b64decode(payload, validate=True)
    except ValueError as error:  # binascii.Error, or a character that is not ASCII
        raise RemoteProtocolError("the bot's audio is not base64", close_code=1007) from error


def _text(message: Mapping[str, object]) -> str:
    return orjson.dumps(message).decode()


def _without_hangup() -> None:
    """Make Pipecat's serializer leave the call alone at its end (see the module's docstring)."""
    from pipecat.serializers.twilio import TwilioFrameSerializer
    from pydantic import model_validator

    inherited = TwilioFrameSerializer.InputParams

    class InputParams(inherited):
        auto_hang_up: bool = False

        @model_validator(mode="after")
        def _never(self) -> InputParams:
            self.auto_hang_up = False
            return self

    if inherited.model_fields["auto_hang_up"].default:
        TwilioFrameSerializer.InputParams = InputParams


DIALECT = Dialect(
    name="twilio",
    new_stream=TwilioStream,
    environment={"TWILIO_ACCOUNT_SID": "AC" + "0" * 32, "TWILIO_AUTH_TOKEN": "0" * 32},
    prepare=_without_hangup,
)
