"""What leaves the managers through the Control API: never a secret's data, a private key or token, the unlock key."""

from typing import TypeVar

from google.protobuf.message import Message
from swarm_api.objects_pb2 import Cluster, Secret

M = TypeVar("M", bound=Message)


def redacted(obj: M) -> M:
    """The object itself when there is nothing to hide in it, else a copy without that."""
    if not isinstance(obj, Secret | Cluster):
        return obj
    copy = type(obj).FromString(obj.SerializeToString())
    if isinstance(copy, Secret):
        copy.spec.ClearField("data")
    elif isinstance(copy, Cluster):
        copy.root_ca.ClearField("key_pem")
        copy.root_ca.ClearField("join_tokens")
        copy.ClearField("unlock_key")
    return copy  # type: ignore[return-value]  # of the object's own type
