"""Twilio's side of a call: REST API, webhooks, TwiML, Media Streams (docs/carriers/twilio.md)."""

from __future__ import annotations

from trunkline.simulator.twilio.service import TwilioSimulator

__all__ = ["SIMULATOR"]

SIMULATOR = TwilioSimulator()
