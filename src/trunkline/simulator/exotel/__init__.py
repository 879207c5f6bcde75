"""Exotel's side of a call: flow, REST API, callbacks, AgentStream (docs/carriers/exotel.md)."""

from __future__ import annotations

from trunkline.simulator.exotel.service import ExotelSimulator

__all__ = ["SIMULATOR"]

SIMULATOR = ExotelSimulator()
