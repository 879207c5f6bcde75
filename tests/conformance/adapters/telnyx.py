"""Telnyx's side, TeXML, written after its documentation and its SDK's check of signatures."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import count
from urllib.parse import urlencode
from xml.etree import ElementTree

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.conformance.adapters import CALL_ID, FROM_NUMBER, STREAM_ID, TO_NUMBER, Message, Sent
from trunkline.carriers.telnyx.account import TelnyxAccount
from trunkline.telephony.carrier import StreamConnect
from trunkline.telephony.webhook import Document, UpgradeRequest, WebhookRequest

ACCOUNT_SID = "9bb60a0d-7f6c-4b0d-9f0c-000000000001"
NOW_S = 1791281745
SIGNATURE, TIMESTAMP = "telnyx-signature-ed25519", "telnyx-timestamp"
FORM = "application/x-www-form-urlencoded"
FRAME_BYTES = 160


class TelnyxAdapter:
    def __init__(self) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
        public_key = base64.b64encode(self._key.public_key().public_bytes_raw()).decode()
        self.account = TelnyxAccount.model_validate(
            {"account_sid": ACCOUNT_SID, "public_key": public_key}
        )
        self._numbers = count(1)

    def start(
        self, *, stream_id: str = STREAM_ID, parameters: Mapping[str, str] | None = None
    ) -> Sequence[Message]:
        self._numbers = count(1)
        start = {
            "user_id": ACCOUNT_SID,
            "call_control_id": CALL_ID,
            "call_session_id": "ff55a038-6f5d-11ef-9692-02420aeffb1f",
            "from": FROM_NUMBER,
            "to": TO_NUMBER,
            "tags": [],
            "client_state": None,
            "custom_parameters": dict(parameters or {}),
            "media_format": {"encoding": "PCMU", "sample_rate": 8000, "channels": 1},
        }
        return [
            json.dumps({"event": "connected", "version": "1.0.0"}),
            json.dumps(
                {"event": "start", "sequence_number": "1", "start": start, "stream_id": stream_id}
            ),
        ]

    def media(self, audio: bytes) -> Message:
        chunk = next(self._numbers)
        media = {"track": "inbound", "chunk": str(chunk), "timestamp": str(20 * chunk)}
        return self._message("media", {**media, "payload": base64.b64encode(audio).decode()})

    def dtmf(self, digit: str) -> Message:
        return self._message("dtmf", {"digit": digit})

    def mark_echo(self, name: str) -> Message:
        return self._message("mark", {"name": name})

    def stop(self) -> Message:
        return self._message("stop", {"user_id": ACCOUNT_SID, "call_control_id": CALL_ID})

    def _message(self, event: str, details: Mapping[str, str]) -> Message:
        return json.dumps(
            {"event": event, "sequence_number": "2", "stream_id": STREAM_ID, event: details}
        )

    def understand(self, messages: Sequence[Message]) -> Sent:
        audio, marks, clears = b"", list[str](), 0
        for message in messages:
            assert isinstance(message, str), "Telnyx reads text (100003)"
            match json.loads(message):
                case {"event": "media", "media": {"payload": str(payload)}}:
                    frames = base64.b64decode(payload, validate=True)
                    assert len(frames) >= FRAME_BYTES, "less than 20 ms is undefined"
                    audio += frames
                case {"event": "mark", "mark": {"name": str(name)}} if name:
                    marks.append(name)
                case {"event": "clear"}:
                    clears += 1
                case fields:
                    raise AssertionError(f"Telnyx does not know {fields}")
        return Sent(audio=audio, marks=marks, clears=clears)

    def incoming(self, url: str) -> WebhookRequest:
        return self._form(url, CallStatus="ringing", CallerId=FROM_NUMBER, CallingPartyType="pstn")

    def ended(self, url: str) -> WebhookRequest:
        return self._form(
            url,
            CallStatus="completed",
            CallbackSource="call-progress-events",
            SequenceNumber="3",
            CallDuration="37",
            HangupSource="callee",
        )

    def _form(self, url: str, **more: str) -> WebhookRequest:
        fields = {
            "AccountSid": ACCOUNT_SID,
            "CallSid": CALL_ID,
            "CallSidLegacy": CALL_ID,
            "ConnectionId": "1494404757140276705",
            "From": FROM_NUMBER,
            "To": TO_NUMBER,
            **more,
        }
        body = urlencode(fields).encode()
        signature = self._key.sign(f"{NOW_S}|".encode() + body)
        headers = [
            ("Content-Type", FORM),
            (SIGNATURE, base64.b64encode(signature).decode()),
            (TIMESTAMP, str(NOW_S)),
        ]
        return WebhookRequest(
            method="POST", url=url, headers=headers, body=body, received_at_s=NOW_S + 0.25
        )

    def tamper(self, request: WebhookRequest) -> WebhookRequest:
        return replace(request, body=request.body.replace(b"0100", b"0199"))

    def strip_proof(self, request: WebhookRequest) -> WebhookRequest:
        return replace(request, headers=[pair for pair in request.headers if pair[0] != SIGNATURE])

    def upgrade(self, url: str) -> UpgradeRequest:
        raise NotImplementedError("Telnyx does not sign upgrades")

    def read_connect(self, document: Document) -> StreamConnect:
        assert document.content_type in ("application/xml", "text/xml")
        response = ElementTree.fromstring(document.body)  # noqa: S314 - our own document
        assert response.tag == "Response"
        assert [verb.tag for verb in response] == ["Connect", "Redirect"]
        stream = response.find("Connect/Stream")
        assert stream is not None
        assert stream.get("bidirectionalMode") == "rtp", "the bot would be silent"
        return StreamConnect(
            stream_url=stream.attrib["url"],
            parameters={
                parameter.attrib["name"]: parameter.attrib["value"]
                for parameter in stream.findall("Parameter")
            },
            continue_url=response.findtext("Redirect"),
            stream_status_url=stream.get("statusCallback"),
        )


ADAPTER = TelnyxAdapter()
