"""What every simulated carrier can do: the seam between commands and carriers' folders."""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from trunkline.simulator.caller import Caller, Turn
from trunkline.simulator.faults import Faults
from trunkline.simulator.line import LineCounts
from trunkline.telephony.carrier import CarrierAccount

__all__ = [
    "CallReport",
    "HungUpBy",
    "Ring",
    "Setup",
    "SimulatedCarrier",
    "Simulator",
    "StreamReport",
    "Violation",
    "WebhookReport",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """How the simulated carrier is set up."""

    account: CarrierAccount | None = None
    """Credentials that sign and that the REST API takes; None: made up."""
    rest_port: int = 0
    """Loopback port of the REST API; 0: any free one."""
    via: str | None = None
    """``http://host:port`` where requests and sockets really go, whatever host their URLs name.
    None: where the URLs say. For a server behind a proxy that should be rung without it."""
    tls: ssl.SSLContext | None = None
    """Trust for https and wss; None: the machine's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ring:
    """One call from outside to a number whose webhook is ours."""

    webhook_url: str
    """As it stands in the carrier's console; it is what the carrier signs."""
    caller: Caller
    from_number: str = "+14155550100"
    to_number: str = "+15005550006"
    faults: Faults = field(default_factory=Faults)
    markup: str | None = None
    """The carrier's own static document in place of the webhook, such as a TwiML Bin."""
    status_url: str | None = None
    """The number's status callback, if it has one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """The server did what the carrier does not allow. ``code``: the carrier's number or word."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookReport:
    """One HTTP request of the carrier to the server."""

    kind: str
    url: str
    status: int | None
    """None: no answer."""
    elapsed_ms: float
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamReport:
    """One media stream of a call."""

    stream_id: str
    url: str
    parameters: Mapping[str, str]
    refused_status: int | None = None
    """HTTP status of a refused upgrade."""
    close_code: int | None = None
    """RFC 6455 §7.4; 1006 for a lost socket."""
    ended_by: str = ""
    """``server``, ``carrier`` or ``fault``."""
    sent_frames: int = 0
    """Frames of caller audio that were sent on it."""
    discarded_frames: int = 0
    """Frames that the server was too slow to take (Twilio: 31930)."""


class HungUpBy(StrEnum):
    """Who ended a call, as the carrier sees it."""

    CALLER = "caller"
    MARKUP = "markup"
    """The document came to its end, or said hang up, or refused."""
    REST = "rest"
    CARRIER = "carrier"
    """A failure, or a limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallReport:
    """A finished call from the carrier's side."""

    carrier_call_id: str
    status: str
    """The carrier's own word for the final state."""
    hung_up_by: HungUpBy
    duration_ms: int
    """Answer to end."""
    counts: LineCounts
    streams: Sequence[StreamReport]
    webhooks: Sequence[WebhookReport]
    violations: Sequence[Violation]
    turns: Sequence[Turn]
    missed: Sequence[str]
    """What the caller waited for in vain."""
    spoken: Sequence[str] = ()
    """What the carrier's own voice said."""
    forwarded_to: Sequence[str] = ()
    recording: bytes = field(default=b"", repr=False)
    """WAV, stereo: caller left, bot right, as heard."""


class SimulatedCarrier(Protocol):
    """A carrier that is running on this machine."""

    @property
    def environment(self) -> Mapping[str, str]:
        """Variables that make a server take this for its carrier: credentials and API base."""
        ...

    async def ring(self, ring: Ring) -> CallReport:
        """Make a call and return when it is over.

        A server that refuses or does not answer is no error here: the report says so.
        """
        ...


class Simulator(Protocol):
    """One carrier's simulator, before it runs."""

    @property
    def name(self) -> str:
        """The carrier's name, as in ``carriers.NAMES``."""
        ...

    def open(self, setup: Setup) -> AbstractAsyncContextManager[SimulatedCarrier]:
        """Run the carrier until the context is left; calls that are still up then are dropped."""
        ...
