"""Exotel's side, written after its documentation; it signs nothing and has no SDK."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from urllib.parse import urlencode
from xml.etree import ElementTree

from tests.conformance.adapters import CALL_ID, FROM_NUMBER, STREAM_ID, TO_NUMBER, Message, Sent
from trunkline.carriers.exotel.account import ExotelAccount
from trunkline.telephony.carrier import StreamConnect
from trunkline.telephony.webhook import Document, UpgradeRequest, WebhookRequest

ACCOUNT_SID = "exampleacct1"
USER, PASSWORD = "trunkline", "a-password-of-its-own"
AUTHORIZATION = "Authorization"
MOST_PAYLOAD_BYTES = 102_400
PAYLOAD_UNIT_BYTES = 320


def basic(user: str, password: str) -> tuple[str, str]:
    return AUTHORIZATION, f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


class ExotelAdapter:
    account = ExotelAccount.model_validate(
        {
            "account_sid": ACCOUNT_SID,
            "api_key": "key",
            "api_token": "token",
            "webhook_user": USER,
            "webhook_password": PASSWORD,
        }
    )

    def start(
        self, *, stream_id: str = STREAM_ID, parameters: Mapping[str, str] | None = None
    ) -> Sequence[Message]:
        start = {
            "stream_sid": stream_id,
            "call_sid": CALL_ID,
            "account_sid": ACCOUNT_SID,
            "from": FROM_NUMBER,
            "to": TO_NUMBER,
            "custom_parameters": dict(parameters or {}),
            "media_format": {"encoding": "base64", "sample_rate": "8000", "bit_rate": "128kbps"},
        }
        return [
            json.dumps({"event": "connected"}),
            json.dumps(
                {"event": "start", "sequence_number": "1", "stream_sid": stream_id, "start": start}
            ),
        ]

    def media(self, audio: bytes) -> Message:
        payload = base64.b64encode(audio).decode()
        return self._message("media", {"chunk": "1", "timestamp": "100", "payload": payload})

    def dtmf(self, digit: str) -> Message:
        return self._message("dtmf", {"digit": digit, "duration": "100"})

    def mark_echo(self, name: str) -> Message:
        return self._message("mark", {"name": name})

    def stop(self) -> Message:
        ids = {"call_sid": CALL_ID, "account_sid": ACCOUNT_SID}
        return self._message("stop", {**ids, "reason": "callended"})

    def _message(self, event: str, details: Mapping[str, str]) -> Message:
        return json.dumps(
            {"event": event, "sequence_number": "2", "stream_sid": STREAM_ID, event: details}
        )

    def understand(self, messages: Sequence[Message]) -> Sent:
        audio, marks, clears = b"", list[str](), 0
        for message in messages:
            assert isinstance(message, str), "Exotel reads text"
            fields = json.loads(message)
            assert fields["stream_sid"] == STREAM_ID
            match fields:
                case {"event": "media", "media": {"payload": str(payload)}}:
                    frames = base64.b64decode(payload, validate=True)
                    assert len(frames) % PAYLOAD_UNIT_BYTES == 0, "any other length is a gap"
                    assert 0 < len(frames) <= MOST_PAYLOAD_BYTES
                    audio += frames
                case {"event": "mark", "mark": {"name": str(name)}} if name:
                    marks.append(name)
                case {"event": "clear"}:
                    clears += 1
                case _:
                    raise AssertionError(f"Exotel does not know {fields}")
        return Sent(audio=audio, marks=marks, clears=clears)

    def incoming(self, url: str) -> WebhookRequest:
        fields = {
            "CallSid": CALL_ID,
            "AccountSid": ACCOUNT_SID,
            "CallFrom": FROM_NUMBER,
            "CallTo": TO_NUMBER,
            "Direction": "incoming",
            "flow_id": "654321",
        }
        asked = f"{url}{'&' if '?' in url else '?'}{urlencode(fields)}"
        return WebhookRequest(method="GET", url=asked, headers=[basic(USER, PASSWORD)])

    def ended(self, url: str) -> WebhookRequest:
        fields = {
            "CallSid": CALL_ID,
            "EventType": "terminal",
            "Status": "completed",
            "ConversationDuration": 37,
            "Legs": [{"OnCallDuration": 40, "Status": "completed"}],
        }
        headers = [basic(USER, PASSWORD), ("Content-Type", "application/json")]
        body = json.dumps(fields).encode()
        return WebhookRequest(method="POST", url=url, headers=headers, body=body)

    def tamper(self, request: WebhookRequest) -> WebhookRequest:
        return replace(request, headers=[basic(USER, "a-password")])

    def strip_proof(self, request: WebhookRequest) -> WebhookRequest:
        return replace(request, headers=[])

    def upgrade(self, url: str) -> UpgradeRequest:
        return UpgradeRequest(url=url, headers=[basic(USER, PASSWORD)])

    def read_connect(self, document: Document) -> StreamConnect:
        if document.content_type == "application/json":
            answer = json.loads(document.body)
            assert list(answer) == ["url"]
            return StreamConnect(stream_url=answer["url"])
        assert document.content_type == "application/xml"
        response = ElementTree.fromstring(document.body)  # noqa: S314 - our own document
        assert [verb.tag for verb in response] == ["Connect"]
        (stream,) = response[0]
        assert (stream.tag, list(stream.attrib)) == ("Stream", ["url"])
        return StreamConnect(stream_url=stream.attrib["url"])


ADAPTER = ExotelAdapter()
