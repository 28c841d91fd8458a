"""The node's daemon: it runs the tasks the leader assigns, on this machine's Docker engine."""
