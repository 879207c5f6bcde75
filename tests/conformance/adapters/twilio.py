"""Twilio's side, written after its documentation and signed by its official SDK."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from urllib.parse import urlencode
from xml.etree import ElementTree

from twilio.request_validator import RequestValidator

from tests.conformance.adapters import CALL_ID, FROM_NUMBER, STREAM_ID, TO_NUMBER, Message, Sent
from trunkline.carriers.twilio.account import TwilioAccount
from trunkline.telephony.carrier import StreamConnect
from trunkline.telephony.webhook import Document, UpgradeRequest, WebhookRequest

ACCOUNT_SID = "AC00000000000000000000000000000001"
TOKEN = "0123456789abcdef0123456789abcdef"
SIGNATURE = "X-Twilio-Signature"
FORM = "application/x-www-form-urlencoded; charset=UTF-8"


class TwilioAdapter:
    account = TwilioAccount.model_validate({"account_sid": ACCOUNT_SID, "auth_token": TOKEN})

    def __init__(self) -> None:
        self._validator = RequestValidator(TOKEN)

    def start(
        self, *, stream_id: str = STREAM_ID, parameters: Mapping[str, str] | None = None
    ) -> Sequence[Message]:
        start = {
            "accountSid": ACCOUNT_SID,
            "streamSid": stream_id,
            "callSid": CALL_ID,
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
            "customParameters": dict(parameters or {}),
        }
        return [
            json.dumps({"event": "connected", "protocol": "Call", "version": "1.0.0"}),
            json.dumps(
                {"event": "start", "sequenceNumber": "1", "start": start, "streamSid": stream_id}
            ),
        ]

    def media(self, audio: bytes) -> Message:
        payload = base64.b64encode(audio).decode()
        media = {"track": "inbound", "chunk": "1", "timestamp": "5", "payload": payload}
        return self._message("media", media)

    def dtmf(self, digit: str) -> Message:
        return self._message("dtmf", {"track": "inbound_track", "digit": digit})

    def mark_echo(self, name: str) -> Message:
        return self._message("mark", {"name": name})

    def stop(self) -> Message:
        return self._message("stop", {"accountSid": ACCOUNT_SID, "callSid": CALL_ID})

    def _message(self, event: str, details: Mapping[str, str]) -> Message:
        return json.dumps(
            {"event": event, "sequenceNumber": "2", "streamSid": STREAM_ID, event: details}
        )

    def understand(self, messages: Sequence[Message]) -> Sent:
        audio, marks, clears = b"", list[str](), 0
        for message in messages:
            assert isinstance(message, str), "Twilio ignores binary messages (31950)"
            fields = json.loads(message)
            assert fields.pop("streamSid") == STREAM_ID, "another stream's message (31951)"
            match fields:
                case {"event": "media", "media": {"payload": str(payload)}}:
                    audio += base64.b64decode(payload, validate=True)
                case {"event": "mark", "mark": {"name": str(name)}} if name:
                    marks.append(name)
                case {"event": "clear"}:
                    clears += 1
                case _:
                    raise AssertionError(f"Twilio does not know {fields}")
        return Sent(audio=audio, marks=marks, clears=clears)

    def incoming(self, url: str) -> WebhookRequest:
        return self._form(url, CallStatus="ringing", Direction="inbound", FromCity="")

    def ended(self, url: str) -> WebhookRequest:
        return self._form(
            url,
            CallStatus="completed",
            Direction="inbound",
            CallbackSource="call-progress-events",
            SequenceNumber="3",
            CallDuration="37",
        )

    def _form(self, url: str, **more: str) -> WebhookRequest:
        fields = {
            "AccountSid": ACCOUNT_SID,
            "CallSid": CALL_ID,
            "From": FROM_NUMBER,
            "To": TO_NUMBER,
            **more,
        }
        signature = self._validator.compute_signature(url, fields)
        headers = [("Content-Type", FORM), (SIGNATURE, signature)]
        body = urlencode(fields).encode()
        return WebhookRequest(method="POST", url=url, headers=headers, body=body)

    def tamper(self, request: WebhookRequest) -> WebhookRequest:
        return replace(request, body=request.body.replace(b"0100", b"0199"))

    def strip_proof(self, request: WebhookRequest) -> WebhookRequest:
        return replace(request, headers=[pair for pair in request.headers if pair[0] != SIGNATURE])

    def upgrade(self, url: str) -> UpgradeRequest:
        # Twilio writes this header in lower case.
        signature = self._validator.compute_signature(url, {})
        return UpgradeRequest(url=url, headers=[(SIGNATURE.lower(), signature)])

    def read_connect(self, document: Document) -> StreamConnect:
        assert document.content_type in ("application/xml", "text/xml")
        response = ElementTree.fromstring(document.body)  # noqa: S314 - our own document
        assert response.tag == "Response"
        assert [verb.tag for verb in response] == ["Connect", "Redirect"]
        stream = response.find("Connect/Stream")
        assert stream is not None
        return StreamConnect(
            stream_url=stream.attrib["url"],
            parameters={
                parameter.attrib["name"]: parameter.attrib["value"]
                for parameter in stream.findall("Parameter")
            },
            continue_url=response.findtext("Redirect"),
            stream_status_url=stream.get("statusCallback"),
        )


ADAPTER = TwilioAdapter()
