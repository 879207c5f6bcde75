from __future__ import annotations

import subprocess
import sys

import pytest

from trunkline.bots import offline


def test_each_public_name_is_a_service() -> None:
    for name in offline.__all__:
        assert getattr(offline, name).__name__ == name


def test_other_names_do_not_exist() -> None:
    with pytest.raises(AttributeError, match="OfflineVideo"):
        _ = offline.OfflineVideo


def test_speaking_and_hearing_do_not_load_pipecat() -> None:
    program = (
        "import sys, trunkline.bots.offline.speech, trunkline.bots.offline.recogniser;"
        "sys.exit('pipecat' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode == 0
