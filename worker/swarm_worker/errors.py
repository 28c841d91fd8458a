"""What can go wrong in the daemon, apart from the engine (runtime.py) and the networks (net/errors.py).

WorkerError(Exception)
  ConfigError      a flag or the configuration file is no good
  StateError       the state directory cannot be read or written
  JoinError        this machine could not become a node
  NodeStateError   the request does not fit what this machine is: already a node, or none
  ManagerError     the manager beside this daemon does not do what is needed
  SessionError     there is no session with the leader
"""


class WorkerError(Exception):
    """The text is one sentence for people: what failed, why, what to do."""


class ConfigError(WorkerError):
    """A flag or the configuration file is no good."""


class StateError(WorkerError):
    """The state directory cannot be read or written."""


class JoinError(WorkerError):
    """This machine could not become a node."""


class NodeStateError(WorkerError):
    """The request does not fit what this machine is."""


class ManagerError(WorkerError):
    """The manager beside this daemon does not do what is needed."""


class SessionError(WorkerError):
    """There is no session with the leader, or it ended."""
