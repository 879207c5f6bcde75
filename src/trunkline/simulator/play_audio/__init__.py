"""The carrier's side of the ``playAudio`` stream, its XML and its ``/Call/`` API.

Two carriers are played with it; what tells them apart is a ``Peculiarities`` record in each one's
own folder. This folder is no carrier.
"""
