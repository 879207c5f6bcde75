"""Phone numbers: E.164 in, E.164 out (ITU-T E.164)."""

from __future__ import annotations

import re

import phonenumbers

from trunkline.errors import InvalidNumber

__all__ = ["parse_e164", "redact", "to_e164"]

_DIALLED = re.compile(r"\+?[0-9 ().-]{5,25}")


def parse_e164(text: str, *, field: str) -> str:
    """Return ``text`` as E.164 with plus, spaces and punctuation removed.

    Numbers without a plus are refused rather than guessed at: which country was meant is not ours
    to say.

    Raises:
        InvalidNumber: ``text`` is not a possible international number; ``field`` names where it
        came from.
    """
    if not text.strip().startswith("+"):
        raise InvalidNumber(field)
    try:
        number = phonenumbers.parse(text, None)
    except phonenumbers.NumberParseException:
        raise InvalidNumber(field) from None
    if number.extension or not phonenumbers.is_possible_number(number):
        raise InvalidNumber(field)
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def to_e164(text: str, *, region: str) -> str:
    """Return a number that a carrier wrote as E.164.

    What is no possible number comes back as it is.

    Args:
        text: National, international or with a plus; may also be ``anonymous`` or a ``sip:``
            address.
        region: The country whose national numbers the carrier writes, ISO 3166 (``IN``).
    """
    if not _DIALLED.fullmatch(text):
        return text
    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        return text
    if not phonenumbers.is_possible_number(number):
        return text
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def redact(number: str) -> str:
    """For logs: first four and last two characters, ``+141••••••00`` for ``+14155550100``."""
    if len(number) <= 6:
        return "•" * len(number)
    return number[:4] + "•" * (len(number) - 6) + number[-2:]
