"""Runs a gateway process."""

from trunkline.gateway.process import main

main()
