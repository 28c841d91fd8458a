"""What can go wrong on the testbed, for people.

TestbedError
├── RequirementMissing   not root, not Linux, a program is missing: nothing was changed
├── CommandFailed        a system program refused; the message holds its own words
├── NotReached           a state was not reached before its deadline
└── HostUnavailable      the host asked for does not exist, is powered off or is frozen
"""


class TestbedError(Exception):
    """Base of all. `str(error)` is one sentence that says what failed, why, and what to do."""

    __test__ = False  # the name starts with Test, but pytest has nothing to collect here


class RequirementMissing(TestbedError):
    """This machine lacks what the testbed stands on."""


class CommandFailed(TestbedError):
    """A program ended with a code other than 0."""


class NotReached(TestbedError):
    """A state did not come before its deadline."""


class HostUnavailable(TestbedError):
    """The host named cannot do what was asked in the state it is in."""
