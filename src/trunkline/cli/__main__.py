"""``python -m trunkline.cli``: the command line without its script, as ``demo`` starts it."""

from __future__ import annotations

from trunkline.cli import main

if __name__ == "__main__":
    main()
