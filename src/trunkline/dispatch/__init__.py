"""Processes and what they say to each other: channel, messages, pool, workers, supervisor."""
