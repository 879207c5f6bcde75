"""Trunkline puts voice bots on the phone, whatever the carrier.

Start with ``trunkline serve`` and docs/architecture.md. The public Python names are the version and
the exceptions; bots are ordinary Pipecat bots and import nothing from here.
"""

from importlib.metadata import version

from trunkline.errors import TrunklineError

__all__ = ["TrunklineError", "__version__"]

__version__ = version("trunkline")
