"""Every carrier that Trunkline speaks to: one folder and one name each.

To add one, copy the nearest folder, end it with ``CARRIER = Carrier(...)`` and add its name here
(docs/add-a-carrier.md).
"""

from __future__ import annotations

from functools import cache
from importlib import import_module

from trunkline.errors import UnknownCarrier
from trunkline.telephony.carrier import Carrier

__all__ = ["NAMES", "get"]

NAMES = ("twilio", "telnyx", "plivo", "exotel", "vobiz", "vonage", "genesys")


@cache
def get(name: str) -> Carrier:
    """The carrier of that name; its folder is imported on first use.

    Raises:
        UnknownCarrier: ``name`` is not in ``NAMES``.
    """
    if name not in NAMES:
        raise UnknownCarrier(name)
    carrier: Carrier = import_module(f"{__name__}.{name}").CARRIER
    return carrier
