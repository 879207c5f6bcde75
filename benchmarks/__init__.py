"""Measurements beside the field's own stack: ``python -m benchmarks``. A module with ``rows()`` is one of them."""
