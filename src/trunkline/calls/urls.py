"""Our public addresses.

``PUBLIC_BASE_URL`` alone decides what was signed and what markup names.
"""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

__all__ = ["PublicUrls"]


class PublicUrls:
    """Builds absolute URLs.

    Args:
        base: ``https://voice.example.com`` without a slash at the end.
        is_configured: False while ``base`` is only this machine's own address, because
            ``PUBLIC_BASE_URL`` is unset; carrier routes then answer on loopback only.
    """

    def __init__(self, base: str, *, is_configured: bool) -> None:
        self.base = base
        self.is_configured = is_configured

    def http(self, raw_path: str, raw_query: str = "") -> str:
        """The URL of one of our routes as a carrier knows it; path and query byte for byte."""
        return f"{self.base}{raw_path}" + (f"?{raw_query}" if raw_query else "")

    def websocket(self, raw_path: str) -> str:
        """The same with ``wss`` (``ws`` when the base is plain http on loopback)."""
        parts = urlsplit(self.base)
        scheme = "wss" if parts.scheme == "https" else "ws"
        return urlunsplit((scheme, parts.netloc, parts.path + raw_path, "", ""))

    def inbound(self, carrier: str, agent_name: str) -> str:
        """Where the carrier asks what to do with an incoming call."""
        return self.http(f"/telephony/{carrier}/inbound/{agent_name}")

    def answer(self, carrier: str, call_id: str) -> str:
        """Where an answered outbound call fetches its markup."""
        return self.http(f"/telephony/{carrier}/answer/{call_id}")

    def events(self, carrier: str, call_id: str) -> str:
        """Where the carrier reports about a call."""
        return self.http(f"/telephony/{carrier}/events/{call_id}")

    def continuation(self, carrier: str, call_id: str) -> str:
        """Where a call goes when its stream has ended."""
        return self.http(f"/telephony/{carrier}/continue/{call_id}")

    def stream(self, carrier: str, agent_name: str, token: str | None = None) -> str:
        """The media socket; without a token it is the static URL of an agent."""
        return self.websocket(f"/ws/{carrier}/{agent_name}" + (f"/{token}" if token else ""))
