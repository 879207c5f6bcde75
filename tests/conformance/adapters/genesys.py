"""Genesys' side, written after its reference client; it has no webhooks and no SDK in Python."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from tests.conformance.adapters import CALL_ID, FROM_NUMBER, STREAM_ID, TO_NUMBER, Message, Sent
from trunkline.carriers.genesys.account import GenesysAccount
from trunkline.telephony.carrier import StreamConnect
from trunkline.telephony.webhook import Document, UpgradeRequest, WebhookRequest

ORGANIZATION = "d7934305-0972-4844-938e-9060eef73d05"
API_KEY = "SGVsbG8sIEkgYW0gdGhlIEFQSSBrZXkh"
SECRET = base64.b64encode(b"a secret of the integration").decode()
NOW_S = 1_767_225_600
MOST_BINARY_BYTES = 64_000
OFFER = {"type": "audio", "format": "PCMU", "channels": ["external"], "rate": 8000}


class GenesysAdapter:
    account = GenesysAccount.model_validate(
        {"api_key": API_KEY, "client_secret": SECRET, "organization_id": ORGANIZATION}
    )

    def __init__(self) -> None:
        self._seq = 0

    def start(
        self, *, stream_id: str = STREAM_ID, parameters: Mapping[str, str] | None = None
    ) -> Sequence[Message]:
        opening = {
            "organizationId": ORGANIZATION,
            "conversationId": CALL_ID,
            "participant": {"id": "p1", "ani": f"tel:{FROM_NUMBER}", "dnis": f"tel:{TO_NUMBER}"},
            "media": [OFFER],
            "language": "en-US",
            "inputVariables": dict(parameters or {}),
        }
        return [self._message("open", opening, stream_id)]

    def media(self, audio: bytes) -> Message:
        return audio

    def dtmf(self, digit: str) -> Message:
        return self._message("dtmf", {"digit": digit})

    def mark_echo(self, name: str) -> Message:
        raise NotImplementedError("AudioHook has no marks")

    def stop(self) -> Message:
        return self._message("close", {"reason": "end"})

    def _message(
        self, kind: str, parameters: Mapping[str, object], stream_id: str = STREAM_ID
    ) -> Message:
        self._seq += 1
        return json.dumps(
            {
                "version": "2",
                "id": stream_id,
                "type": kind,
                "seq": self._seq,
                "serverseq": 0,
                "position": "PT0S",
                "parameters": parameters,
            }
        )

    def understand(self, messages: Sequence[Message]) -> Sent:
        audio, clears = b"", 0
        for message in messages:
            if isinstance(message, bytes):
                assert 0 < len(message) <= MOST_BINARY_BYTES
                audio += message
                continue
            fields = json.loads(message)
            assert (fields["version"], fields["id"]) == ("2", STREAM_ID)
            assert 0 <= fields["clientseq"] <= self._seq
            assert isinstance(fields["parameters"], dict)
            match fields:
                case {"type": "event", "parameters": {"entities": [{"type": "barge_in"}]}}:
                    clears += 1
                case {"type": "opened" | "pong" | "closed" | "updated"}:
                    pass
                case _:
                    raise AssertionError(f"Genesys does not know {fields}")
        return Sent(audio=audio, clears=clears)

    def incoming(self, url: str) -> WebhookRequest:
        raise NotImplementedError("Genesys has no webhooks")

    def ended(self, url: str) -> WebhookRequest:
        raise NotImplementedError("Genesys has no webhooks")

    def tamper(self, request: WebhookRequest) -> WebhookRequest:
        raise NotImplementedError("Genesys has no webhooks")

    def strip_proof(self, request: WebhookRequest) -> WebhookRequest:
        raise NotImplementedError("Genesys has no webhooks")

    def upgrade(self, url: str) -> UpgradeRequest:
        parts = urlsplit(url)
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        headers = {
            "audiohook-organization-id": ORGANIZATION,
            "audiohook-session-id": STREAM_ID,
            "audiohook-correlation-id": "e160e428-53e2-487c-977d-96989bf5c99d",
            "x-api-key": API_KEY,
        }
        values = {"@request-target": target, "@authority": parts.netloc, **headers}
        names = " ".join(f'"{name}"' for name in values)
        signed = (
            f'({names});keyid="{API_KEY}";nonce="VGhpc0lzQVVuaXF1ZU5vbmNl";alg="hmac-sha256"'
            f";created={NOW_S};expires={NOW_S + 10}"
        )
        lines = [f'"{name}": {value}' for name, value in values.items()]
        base = "\n".join([*lines, f'"@signature-params": {signed}'])
        mac = hmac.new(base64.b64decode(SECRET), base.encode(), hashlib.sha256).digest()
        return UpgradeRequest(
            url=url,
            headers=[
                *headers.items(),
                ("Signature-Input", f"sig1={signed}"),
                ("Signature", f"sig1=:{base64.b64encode(mac).decode()}:"),
            ],
            received_at_s=NOW_S + 0.5,
        )

    def read_connect(self, document: Document) -> StreamConnect:
        raise NotImplementedError("Genesys is answered with no documents")


ADAPTER = GenesysAdapter()
