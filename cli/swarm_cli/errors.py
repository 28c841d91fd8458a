"""How a command ends: exit codes, and the errors that are not the client's (swarm_api.errors).

CliError(Exception)      one sentence for people; exit code 1
  InputError             a file or value given is wrong; exit code 2
    ComposeError         a compose file is wrong (compose/)
  DaemonError            the node's daemon does not start, or refuses
"""

from swarm_api.errors import ClientError, NoManagerError, NotConvergedError

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_NO_MANAGER = 3
EXIT_NOT_CONVERGED = 4
EXIT_INTERRUPTED = 130


class CliError(Exception):
    """A command cannot be done; the text is one sentence that names the cause and the remedy."""

    exit_code = EXIT_FAILED


class InputError(CliError):
    """What the user gave is wrong."""

    exit_code = EXIT_USAGE


class ComposeError(InputError):
    """A compose file is wrong; the text says where and what.  The request is not sent."""

    exit_code = EXIT_FAILED


class DaemonError(CliError):
    """The node's daemon (swarm-worker) cannot be started, or refuses."""


def exit_code(error: Exception) -> int:
    """The exit code that an error stands for."""
    if isinstance(error, CliError):
        return error.exit_code
    if isinstance(error, NoManagerError):
        return EXIT_NO_MANAGER
    if isinstance(error, NotConvergedError):
        return EXIT_NOT_CONVERGED
    return EXIT_FAILED


def is_expected(error: Exception) -> bool:
    """Whether the error's text is written for people."""
    return isinstance(error, (CliError, ClientError))
