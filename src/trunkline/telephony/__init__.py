"""The trade's vocabulary: calls, media streams, webhooks, carriers, numbers.

Pure: no sockets, clock, random, environment or logging.
"""
