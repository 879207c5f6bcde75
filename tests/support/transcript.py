"""Plays a script to a stream protocol core and compares all that happens with what it says.

In the spirit of mitmproxy's ``Playbook``: input and output stand in one text, in order.

::

    > {"event":"start",…}          from the carrier; ``> hex:00ff`` is binary, ``> EOF`` the end
    ! send_mark "g1"               a verb of ours, arguments in JSON; audio in base64
    < {"event":"mark",…}           to the carrier, exactly as on the wire
    * MarkPlayed name='g1'         an event; ``raw`` and empty fields are left out
    x RemoteProtocolError 1002 …   what the step raised
    # a remark

Each step is followed by the events and then the messages that it caused; nothing may be left out.
"""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Iterator

from trunkline.audio import MediaFormat
from trunkline.errors import RemoteProtocolError, TrunklineError
from trunkline.telephony.media import StreamEvent, StreamProtocol

STEP_MS = 20


class Transcript:
    """A conversation with one core; ``play`` may be called again to go on with it."""

    def __init__(self, stream: StreamProtocol) -> None:
        self._stream = stream
        self._now_ms = 0

    def play(self, script: str) -> None:
        """Take every ``>`` and ``!`` step of the script; fail unless the rest is what follows."""
        lines = [line.strip() for line in script.splitlines()]
        expected = [line for line in lines if line and not line.startswith("#")]
        happened: list[str] = []
        for line in expected:
            if line.startswith((">", "!")):
                happened.append(line)
                happened.extend(self._step(line[0], line[1:].strip()))
        assert "\n".join(happened) == "\n".join(expected)

    def _step(self, kind: str, text: str) -> Iterator[str]:
        self._now_ms += STEP_MS
        try:
            if kind == ">":
                self._receive(text)
            else:
                self._call(text)
        except RemoteProtocolError as error:
            yield f"x RemoteProtocolError {error.close_code} {error}"
        except TrunklineError as error:
            yield f"x {type(error).__name__} {error}"
        yield from (render(event) for event in self._stream.events_received())
        for message in self._stream.messages_to_send():
            yield f"< {message}" if isinstance(message, str) else f"< hex:{message.hex()}"

    def _receive(self, text: str) -> None:
        if text == "EOF":
            self._stream.receive_eof()
        elif text.startswith("hex:"):
            self._stream.receive_message(bytes.fromhex(text[4:]), self._now_ms)
        else:
            self._stream.receive_message(text, self._now_ms)

    def _call(self, text: str) -> None:
        verb, _, argument = text.partition(" ")
        arguments = [json.loads(argument)] if argument else []
        if verb == "send_audio":
            arguments = [base64.b64decode(arguments[0], validate=True)]
        getattr(self._stream, verb)(*arguments)


def render(event: StreamEvent) -> str:
    """Return an event as one line of a transcript."""
    fields = [
        f"{field.name}={_render_value(getattr(event, field.name))}"
        for field in dataclasses.fields(event)
        if field.name != "raw" and getattr(event, field.name) not in (None, "", {})
    ]
    return " ".join(["*", type(event).__name__, *fields])


def _render_value(value: object) -> str:
    if isinstance(value, MediaFormat):
        return f"{value.encoding}/{value.sample_rate_hz}/{value.channels}"
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return repr(value)
