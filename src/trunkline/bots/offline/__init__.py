"""Speech, hearing and conversation without account or network: small stand-ins for the demo.

espeak-ng speaks, pocketsphinx hears what a small grammar allows, and a list of rules answers. None
of them is a match for the services that an agent normally names, and none pretends to be one. They
need the extra ``offline`` (``pip install 'trunkline[offline]'``).

``speech`` and ``recogniser`` know nothing of Pipecat, so the simulator speaks without loading
it: the services are imported when they are first asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trunkline.bots.offline.llm import OfflineLLMService
    from trunkline.bots.offline.stt import OfflineSTTService
    from trunkline.bots.offline.tts import OfflineTTSService

__all__ = ["OfflineLLMService", "OfflineSTTService", "OfflineTTSService"]

_MODULES = {"OfflineLLMService": "llm", "OfflineSTTService": "stt", "OfflineTTSService": "tts"}


def __getattr__(name: str) -> object:
    """Import a service at first use (PEP 562)."""
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found: object = getattr(importlib.import_module(f"{__name__}.{module}"), name)
    return found
