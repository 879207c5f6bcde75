"""Vonage's side, written after its documentation; the official SDK's models read our documents."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

import jwt
from vonage_voice.models.ncco import Connect

from tests.conformance.adapters import CALL_ID, FROM_NUMBER, STREAM_ID, TO_NUMBER, Message, Sent
from trunkline.carriers.vonage.account import VonageAccount
from trunkline.telephony.carrier import StreamConnect
from trunkline.telephony.webhook import Document, UpgradeRequest, WebhookRequest

API_KEY = "a1b2c3d4"
SECRET = "vonage-signature-secret-0123456789abcdef"
APPLICATION_ID = "aaaaaaaa-bbbb-cccc-dddd-0123456789ab"
NOW_S = 1_790_000_000
FRAME_BYTES = 320  # 20 ms at 8 kHz
AUTHORIZATION = "Authorization"


class VonageAdapter:
    account = VonageAccount.model_validate(
        {"api_key": API_KEY, "signature_secret": SECRET, "application_id": APPLICATION_ID}
    )

    def start(
        self, *, stream_id: str = STREAM_ID, parameters: Mapping[str, str] | None = None
    ) -> Sequence[Message]:
        # Headers of the answer document come back at the top level; Vonage adds no id of its own.
        headers = {"call_uuid": CALL_ID, "stream_id": stream_id, **(parameters or {})}
        connected = {"event": "websocket:connected", "content-type": "audio/l16;rate=8000"}
        return [json.dumps({**connected, **headers})]

    def media(self, audio: bytes) -> Message:
        return audio

    def dtmf(self, digit: str) -> Message:
        return json.dumps({"event": "websocket:dtmf", "digit": digit, "duration": 260})

    def mark_echo(self, name: str) -> Message:
        return json.dumps({"event": "websocket:notify", "payload": {"mark": name}})

    def stop(self) -> Message:
        return json.dumps({"event": "websocket:disconnected"})

    def understand(self, messages: Sequence[Message]) -> Sent:
        audio, marks, clears = b"", list[str](), 0
        for message in messages:
            if isinstance(message, bytes):
                assert len(message) == FRAME_BYTES, "not one message of 20 ms"
                audio += message
                continue
            match json.loads(message):
                case {"action": "notify", "payload": {"mark": str(name)}} if name:
                    marks.append(name)
                case {"action": "clear", **rest} if not rest:
                    clears += 1
                case other:
                    raise AssertionError(f"Vonage does not know {other}")
        return Sent(audio=audio, marks=marks, clears=clears)

    def incoming(self, url: str) -> WebhookRequest:
        return self._post(url, endpoint_type="phone", region_url="https://api-us-3.vonage.com")

    def ended(self, url: str) -> WebhookRequest:
        return self._post(
            url,
            headers={},
            status="completed",
            direction="inbound",
            duration="37",
            rate="0.00720000",
            price="0.00444000",
            network=None,
        )

    def _post(self, url: str, **more: object) -> WebhookRequest:
        fields = {
            "from": FROM_NUMBER.removeprefix("+"),
            "to": TO_NUMBER.removeprefix("+"),
            "uuid": CALL_ID,
            "conversation_uuid": "CON-aaaaaaaa-bbbb-cccc-dddd-000000000002",
            **more,
        }
        body = json.dumps(fields).encode()
        token = self._token(payload_hash=hashlib.sha256(body).hexdigest())
        headers = [("Content-Type", "application/json"), (AUTHORIZATION, f"Bearer {token}")]
        return WebhookRequest(
            method="POST", url=url, headers=headers, body=body, received_at_s=NOW_S + 1.5
        )

    def _token(self, **more: str) -> str:
        claims = {
            "iat": NOW_S,
            "jti": "c5ba8f24-1a14-4c10-bfdf-3fbe8ce511b5",
            "iss": "Vonage",
            "api_key": API_KEY,
            "application_id": APPLICATION_ID,
            **more,
        }
        return jwt.encode(claims, SECRET, algorithm="HS256")

    def tamper(self, request: WebhookRequest) -> WebhookRequest:
        return replace(request, body=request.body.replace(b"0100", b"0199"))

    def strip_proof(self, request: WebhookRequest) -> WebhookRequest:
        kept = [pair for pair in request.headers if pair[0] != AUTHORIZATION]
        return replace(request, headers=kept)

    def upgrade(self, url: str) -> UpgradeRequest:
        headers = [(AUTHORIZATION.lower(), f"Bearer {self._token()}")]
        return UpgradeRequest(url=url, headers=headers, received_at_s=NOW_S + 1.5, has_token=True)

    def read_connect(self, document: Document) -> StreamConnect:
        assert document.content_type == "application/json"
        (fields,) = json.loads(document.body)
        # The SDK asks for a caller id and calls the format otherwise; Vonage does neither.
        (endpoint,) = fields["endpoint"]
        endpoint["contentType"] = endpoint.pop("content-type")
        action = Connect.model_validate({**fields, "from_": "442079460000"})
        assert action.eventType == "synchronous"
        assert action.eventMethod == "POST"
        (socket,) = action.endpoint
        (continue_url,) = action.eventUrl or [None]
        return StreamConnect(
            stream_url=socket.uri, parameters=socket.headers or {}, continue_url=continue_url
        )


ADAPTER = VonageAdapter()
