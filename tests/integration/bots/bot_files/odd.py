"""Bots that do not do what a bot should, one function each."""

import asyncio
import os
import sys

from dotenv import load_dotenv

load_dotenv(override=True)
SEEN_AT_IMPORT = dict(os.environ)


async def raises(runner_args):
    raise LookupError("nothing to be found")


async def returns(runner_args):
    pass


async def exits(runner_args):
    sys.exit(3)


async def is_deaf(runner_args):
    """Reads nothing and waits for ever."""
    await asyncio.Event().wait()


def not_async(runner_args):
    pass


async def takes_nothing():
    pass
