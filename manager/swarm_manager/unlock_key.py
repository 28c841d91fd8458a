"""The cluster's unlock key as people copy it: `SWMKEY-1-` and 256 random bits in 50 digits of base 36."""

import re
import secrets

from swarm_api.ids import base36

from swarm_manager.errors import BadRequestError

PREFIX = "SWMKEY-1-"
_DIGITS = 50
_BITS = 256


def new_unlock_key() -> str:
    """A fresh one."""
    return PREFIX + base36(secrets.randbits(_BITS), _DIGITS)


def unlock_key_bytes(text: str) -> bytes:
    """The key itself; BadRequestError when the text cannot be one."""
    found = re.fullmatch(rf"{PREFIX}([0-9a-z]{{{_DIGITS}}})", text.strip(), re.IGNORECASE | re.ASCII)
    number = int(found[1], 36) if found else 1 << _BITS
    if number >= 1 << _BITS:
        raise BadRequestError(
            f"this is no unlock key: one is {PREFIX} and {_DIGITS} letters and digits; copy it again from what "
            "'swarm-cli unlock-key' prints"
        )
    return number.to_bytes(_BITS // 8, "big")
