"""Measurements beside the field's own stack: ``python -m benchmarks``."""
