"""Genesys' end of an AudioHook session, without its socket: messages out, strict reading in.

https://github.com/purecloudlabs/audiohook-reference-implementation
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import orjson

from trunkline.audio import Encoding, MediaFormat
from trunkline.simulator.connection import ClearSent, MediaSent, ServerMessage, StopSent
from trunkline.simulator.contract import Violation

__all__ = ["FRAME_MS", "GARBAGE", "MEDIA_FORMAT", "NIL_ID", "GenesysMedia"]

MEDIA_FORMAT = MediaFormat(encoding=Encoding.PCMU, sample_rate_hz=8000)
"""The only one that is offered."""

FRAME_MS = 200
"""Caller audio in one message, in milliseconds."""

NIL_ID = "00000000-0000-0000-0000-000000000000"
"""Conversation and participant of a connection test."""

GARBAGE: tuple[str | bytes, ...] = (b"", b"\xff", b"\x00\x01\x02")
"""Odd messages, for ``Fault.GARBAGE_FRAMES``: text of no sense would end the session at once."""

_OFFER = {"type": "audio", "format": "PCMU", "channels": ["external"], "rate": 8000}
_OPENED_WITHIN_MS = 5_000
_PING_EVERY_MS = 5_000
_MESSAGES_PER_S, _MESSAGES_BURST = 5, 25
_MOST_BINARY_BYTES = 64_000

_Json: TypeAlias = "dict[str, _Json] | list[_Json] | str | int | float | bool | None"


class GenesysMedia:
    """One session; see ``connection.MediaTalk``. Pure: its time is the caller's audio.

    Args:
        organization_id: Of the organisation.
        session_id: Of the socket.
        conversation_id: Of the call; ``NIL_ID`` for a connection test.
        from_number: Caller, E.164.
        to_number: Number that was called, E.164.
        variables: The action's inputs.
    """

    def __init__(
        self,
        *,
        organization_id: str,
        session_id: str,
        conversation_id: str,
        from_number: str,
        to_number: str,
        variables: dict[str, str] | None = None,
    ) -> None:
        self.stream_id = session_id
        self.violations: list[Violation] = []
        self.was_opened = False
        self.disconnect_reason = ""
        """What the server said when it left; empty while it has not."""
        self._organization_id = organization_id
        self._conversation_id = conversation_id
        self._numbers = (from_number, to_number)
        self._variables = dict(variables or {})
        self._seq = 0
        self._server_seq = 0
        self._sent_bytes = 0
        self._pings_sent = 0
        self._ping_seqs: set[int] = set()
        self._is_closing = False
        self._is_late = False
        self._left = float(_MESSAGES_BURST)
        self._counted_ms = 0
        self._replies: list[str] = []

    def opening(self) -> Sequence[str]:
        """Return nothing: the first message is ``open``."""
        return ()

    def start(self) -> str:
        """Return ``open``."""
        is_probe = self._conversation_id == NIL_ID
        ani, dnis = self._numbers
        participant = {
            "id": NIL_ID if is_probe else "883efee8-3d6c-4537-b500-6d7ca4b92fa0",
            "ani": "" if is_probe else f"tel:{ani}",
            "aniName": "",
            "dnis": "" if is_probe else f"tel:{dnis}",
        }
        return self._message(
            "open",
            {
                "organizationId": self._organization_id,
                "conversationId": self._conversation_id,
                "participant": participant,
                "media": [_OFFER],
                "language": "en-US",
                "inputVariables": self._variables,
            },
        )

    def media(self, payload: bytes) -> bytes:
        """Return the caller's next audio: it is a message as it is."""
        self.skip(len(payload))
        return payload

    def skip(self, payload_bytes: int) -> None:
        """Let the time of so much audio pass."""
        self._sent_bytes += payload_bytes
        if not self.was_opened and not self._is_late and self._now_ms > _OPENED_WITHIN_MS:
            self._is_late = True
            self._refuse("408", "timed out waiting for opened")
        if self._now_ms // _PING_EVERY_MS > self._pings_sent:
            self._pings_sent += 1
            if self._ping_seqs:
                self._refuse("408", "a ping was not answered before the next")
            self._replies.append(self._message("ping", {}))
            self._ping_seqs.add(self._seq)

    def dtmf(self, digit: str) -> str:
        """Return the message for a key."""
        return self._message("dtmf", {"digit": digit})

    def mark(self, name: str) -> str:
        """There are no marks, so none is ever played.

        Raises:
            AssertionError: Always.
        """
        raise AssertionError("AudioHook has no marks")

    def cleared(self, marks: Sequence[str]) -> Sequence[str]:
        """Return nothing: a barge-in is not confirmed."""
        return ()

    def ending(self) -> Sequence[str]:
        """Return ``close``, unless it was said before."""
        if self._is_closing:
            return ()
        return [self._close("end")]

    def take_replies(self) -> Sequence[str]:
        """Return what has to be said since the last call: pings, and the answer to a farewell."""
        replies, self._replies = self._replies, []
        return replies

    def receive(self, data: str | bytes) -> ServerMessage | None:
        """Read one message of the server; None, and a violation, for what ends sessions."""
        if isinstance(data, bytes):
            return self._receive_audio(data)
        try:
            message: _Json = orjson.loads(data)
        except orjson.JSONDecodeError:
            return self._refuse("400", "not JSON")
        if not isinstance(message, dict):
            return self._refuse("400", "not a JSON object")
        parameters = message.get("parameters")
        if (message.get("version"), message.get("id")) != ("2", self.stream_id):
            return self._refuse("400", "another version, or another session")
        if message.get("seq") != self._server_seq + 1 or not isinstance(parameters, dict):
            return self._refuse("400", "a number is left out, or parameters are")
        self._server_seq += 1
        confirmed = message.get("clientseq")
        if not isinstance(confirmed, int) or not 0 <= confirmed <= self._seq:
            return self._refuse("400", "a message is confirmed that was not sent")
        return self._understand(message.get("type"), parameters, confirmed)

    def _understand(
        self, kind: _Json, parameters: dict[str, _Json], confirmed: int
    ) -> ServerMessage | None:
        match kind:
            case "opened":
                self.was_opened = True
                if parameters.get("media") not in ([_OFFER], []):
                    return self._refuse("415", "media that was not offered")
            case "pong":
                self._ping_seqs.discard(confirmed)
            case "disconnect":
                self.disconnect_reason = str(parameters.get("reason"))
                self._replies.append(self._close("disconnect"))
            case "closed":
                if self._is_closing:
                    return StopSent()
                return self._refuse("409", "closed without close")
            case "event":
                entities = parameters.get("entities")
                if isinstance(entities, list) and {"type": "barge_in", "data": {}} in entities:
                    return ClearSent()
            case "updated":
                pass
            case _:
                return self._refuse("405", f"unknown type {kind!r}")
        return None

    def _receive_audio(self, audio: bytes) -> MediaSent | None:
        if not self.was_opened or self._is_closing:
            return self._refuse("409", "audio before opened or after close")
        gained = (self._now_ms - self._counted_ms) * _MESSAGES_PER_S / 1000
        self._left = min(self._left + gained, _MESSAGES_BURST) - 1
        self._counted_ms = self._now_ms
        if self._left < 0:
            return self._refuse("429", "rate limit exceeded")
        if not 0 < len(audio) <= _MOST_BINARY_BYTES:
            return self._refuse("413", f"a message of {len(audio)} bytes")
        return MediaSent(payload=audio)

    @property
    def _now_ms(self) -> int:
        return MEDIA_FORMAT.duration_ms(self._sent_bytes)

    def _close(self, reason: str) -> str:
        self._is_closing = True
        return self._message("close", {"reason": reason})

    def _refuse(self, code: str, detail: str) -> None:
        self.violations.append(Violation(code=code, detail=detail))

    def _message(self, kind: str, parameters: dict[str, object]) -> str:
        self._seq += 1
        return orjson.dumps(
            {
                "version": "2",
                "id": self.stream_id,
                "type": kind,
                "seq": self._seq,
                "serverseq": self._server_seq,
                "position": f"PT{self._now_ms / 1000}S",
                "parameters": parameters,
            }
        ).decode()
