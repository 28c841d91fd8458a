"""Who may call which RPC, as the .proto files say (auth.proto).  What they do not mention, nobody may call."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from google.protobuf.descriptor import FileDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from swarm_api import auth_pb2, ca_pb2, control_pb2, dispatcher_pb2, raft_pb2

SERVED = (control_pb2.DESCRIPTOR, dispatcher_pb2.DESCRIPTOR, ca_pb2.DESCRIPTOR, raft_pb2.DESCRIPTOR)


@dataclass(frozen=True, slots=True)
class Rule:
    """One RPC: whom it admits, and where it is answered."""

    path: str
    roles: frozenset[str]
    leader_only: bool
    streams: bool
    request_type: type[Message]

    @property
    def has_request_id(self) -> bool:
        """Whether a repeated call is recognised by its `request_id`."""
        return "request_id" in self.request_type.DESCRIPTOR.fields_by_name

    @property
    def may_be_stale(self) -> bool:
        """Whether the caller may ask this very manager for its own copy."""
        return "stale" in self.request_type.DESCRIPTOR.fields_by_name

    def belongs_to_leader(self, request: Message) -> bool:
        """Whether this call must be answered by the leader: all that need the latest state."""
        if self.may_be_stale:
            return not getattr(request, "stale")  # noqa: B009 - a field some request types have
        return self.leader_only


def read_rules(files: Iterable[FileDescriptor] = SERVED) -> Mapping[str, Rule]:
    """The rules of all RPCs in these files, by gRPC path (`/swarm.v1.Control/GetInfo`)."""
    rules = {}
    for file in files:
        for service in file.services_by_name.values():
            for method in service.methods:
                rule = _rule(f"/{service.full_name}/{method.name}", method)
                rules[rule.path] = rule
    return rules


def _rule(path: str, method: MethodDescriptor) -> Rule:
    options = method.GetOptions()
    roles = options.Extensions[auth_pb2.roles]
    return Rule(
        path=path,
        roles=frozenset(role.strip() for role in roles.split(",") if role.strip()),
        leader_only=options.Extensions[auth_pb2.leader_only],
        streams=bool(method.server_streaming),
        request_type=GetMessageClass(method.input_type),
    )
