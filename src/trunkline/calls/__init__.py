"""Use cases: admit, place, connect, finish and mend calls.

Knows stores and carriers, no HTTP and no processes.
"""
