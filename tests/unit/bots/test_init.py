from __future__ import annotations

import subprocess
import sys

import pytest

from trunkline.bots import load
from trunkline.dispatch.messages import AgentSpec
from trunkline.errors import ConfigError


def test_unknown_kind_is_refused() -> None:
    with pytest.raises(ConfigError, match="pipeline or module, not 'puppet'") as caught:
        load(AgentSpec(name="a", kind="puppet"))
    assert caught.value.field == "kind"


def test_importing_the_package_loads_no_pipecat() -> None:
    program = "import sys, trunkline.bots; sys.exit('pipecat' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode == 0
