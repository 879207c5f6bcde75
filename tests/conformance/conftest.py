"""Runs each test of the suite once for every carrier in ``NAMES``."""

from __future__ import annotations

import pytest

from tests.conformance import adapters
from trunkline import carriers
from trunkline.telephony.carrier import Carrier


@pytest.fixture(params=carriers.NAMES)
def carrier(request: pytest.FixtureRequest) -> Carrier:
    return carriers.get(request.param)


@pytest.fixture
def adapter(carrier: Carrier) -> adapters.Adapter:
    return adapters.load(carrier.name)
