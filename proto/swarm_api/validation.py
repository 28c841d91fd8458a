"""Whether a spec can be done at all. Used by the API before it proposes, and by the command line before it asks."""

from google.protobuf.message import Message


def problems(spec: Message) -> list[str]:
    """What is wrong with a spec, one sentence each that names the field; empty: nothing."""
    raise NotImplementedError
