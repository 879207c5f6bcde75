"""Genesys' side of a call: a flow's Call Audio Connector action (docs/carriers/genesys.md)."""

from __future__ import annotations

from trunkline.simulator.genesys.service import GenesysSimulator

__all__ = ["SIMULATOR"]

SIMULATOR = GenesysSimulator()
