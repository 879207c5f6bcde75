"""Plays a carrier from the carrier's side, honest and strict: for demo, ``call`` and tests.

One folder for each carrier that can be played, of the carrier's own name, ending with
``SIMULATOR = …``. What every carrier's calls have in common is here: the line with its clock,
what plays and what is heard, and the human at the other end.
"""

from __future__ import annotations

from importlib import import_module

from trunkline import carriers
from trunkline.errors import UnknownCarrier, UnsupportedByCarrier
from trunkline.simulator.contract import Simulator

__all__ = ["get"]


def get(name: str) -> Simulator:
    """Return the simulator of carrier ``name``; its folder is imported on first use.

    Raises:
        UnknownCarrier: there is no such carrier.
        UnsupportedByCarrier: there is, and nobody has written its simulator.
    """
    if name not in carriers.NAMES:
        raise UnknownCarrier(name)
    folder = f"{__name__}.{name}"
    try:
        simulator: Simulator = import_module(folder).SIMULATOR
    except ModuleNotFoundError as error:
        if error.name != folder:
            raise
        raise UnsupportedByCarrier(name, "simulated calls") from error
    return simulator
