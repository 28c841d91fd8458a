"""Join tokens as text: what lets a machine into a cluster, and the cluster prove itself to the machine.

    SWMTKN-1-<50 base-36 digits: sha256 of the CA certificate>-<25 base-36 digits: secret of a role>

What is done with the secret is in identity.py.  This part needs no cryptography, so that a command line can tell a
mistyped token without the time it takes to import that.
"""

import re
from dataclasses import dataclass

from swarm_api.ids import ALPHABET, base36

TOKEN_PREFIX = "SWMTKN-1-"  # noqa: S105 - a public prefix, not a secret
DIGEST_DIGITS = 50
SECRET_DIGITS = 25


class IdentityError(ValueError):
    """An identity, or the token for one, is not usable; the text says why and what to do."""


class TokenError(IdentityError):
    """The text is no join token, or not one of this cluster."""


@dataclass(frozen=True, slots=True)
class JoinToken:
    """A parsed join token: the CA's sha256 (32 bytes) and the secret of one role."""

    ca_digest: bytes
    secret: str

    @staticmethod
    def parse(text: str) -> "JoinToken":
        """Read a token as `join-token` prints it; TokenError says in one sentence what is wrong with it."""
        token = text.strip()
        if token != token.lower().replace(TOKEN_PREFIX.lower(), TOKEN_PREFIX, 1):
            raise TokenError(
                f"the join token has wrong letter case: after '{TOKEN_PREFIX}' it is all lower case; "
                "copy it again from 'swarm-cli join-token'"
            )
        match = re.fullmatch(rf"{TOKEN_PREFIX}([^-]*)-([^-]*)", token)
        if match is None:
            raise TokenError(
                f"the join token is not of the form '{TOKEN_PREFIX}<digest>-<secret>': it was cut off or is "
                "something else; copy it again from 'swarm-cli join-token'"
            )
        digest, secret = match.groups()
        check_digits("digest", digest, DIGEST_DIGITS)
        check_digits("secret", secret, SECRET_DIGITS)
        number = int(digest, 36)
        if number >= 1 << 256:
            raise TokenError("the join token was altered: its digest is no sha256; copy it again")
        return JoinToken(number.to_bytes(32, "big"), secret)

    def __str__(self) -> str:
        return f"{TOKEN_PREFIX}{base36(int.from_bytes(self.ca_digest, 'big'), DIGEST_DIGITS)}-{self.secret}"

    def __repr__(self) -> str:  # a token must not reach a log by accident
        return "JoinToken(...)"

    def check_digest(self, ca_digest: bytes) -> None:
        """Raise TokenError unless that is the sha256 of the CA certificate this token was made for."""
        if ca_digest != self.ca_digest:
            raise TokenError(
                "the join token does not belong to the cluster at that address: the token was altered or is "
                "of another cluster; get a new one there with 'swarm-cli join-token'"
            )


def check_digits(part: str, text: str, digits: int) -> None:
    """Raise TokenError unless `text` is that many base-36 digits."""
    if len(text) != digits:
        raise TokenError(
            f"the join token was cut off or altered: its {part} has {len(text)} characters instead of "
            f"{digits}; copy it again from 'swarm-cli join-token'"
        )
    if not set(text) <= set(ALPHABET):
        raise TokenError(
            f"the join token was altered: its {part} has characters other than 0-9 and a-z; "
            "copy it again from 'swarm-cli join-token'"
        )
