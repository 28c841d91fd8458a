"""Identifiers: 25 characters of lower-case base 36, as Docker's API has them."""

import secrets

ID_LENGTH = 25
ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"


def new_id() -> str:
    """A fresh random id (about 129 bits). The first character is a letter or digit like any other."""
    return base36(secrets.randbits(129) % 36**ID_LENGTH, ID_LENGTH)


def base36(number: int, width: int) -> str:
    """`number` in base 36, padded with zeros to `width` characters."""
    digits = []
    while number:
        number, rest = divmod(number, 36)
        digits.append(ALPHABET[rest])
    return "".join(reversed(digits)).rjust(width, "0")


def is_id(text: str) -> bool:
    """Whether `text` has the form of a whole id."""
    return len(text) == ID_LENGTH and all(c in ALPHABET for c in text)
