"""Networks.  The allocator gives them their subnet and number; here it is only checked that none is asked twice."""

import ipaddress
from typing import Any

from swarm_api.control_pb2 import (
    CreateNetworkRequest,
    CreateNetworkResponse,
    GetNetworkResponse,
    GetRequest,
    ListNetworksResponse,
    ListRequest,
    RemoveRequest,
    RemoveResponse,
)
from swarm_api.ids import new_id
from swarm_api.objects_pb2 import Network, ObjectKind
from swarm_api.specs_pb2 import NetworkSpec

from swarm_manager.api.desk import Desk
from swarm_manager.api.lookup import find, select
from swarm_manager.api.references import refuse_in_use, refuse_taken_name, users_of_network
from swarm_manager.api.writes import Edit, check_spec, copy_of, write
from swarm_manager.core.snapshot import Snapshot, View
from swarm_manager.errors import BadRequestError, RefusedError


class NetworkRpcs(Desk):
    """ListNetworks, GetNetwork, CreateNetwork, RemoveNetwork."""

    async def ListNetworks(self, request: ListRequest, context: Any) -> ListNetworksResponse:  # noqa: N802, ARG002 - gRPC's
        """All networks that pass the filter."""
        view = await self._view(stale=request.stale)
        return ListNetworksResponse(networks=select(view.networks.values(), request.filter))

    async def GetNetwork(self, request: GetRequest, context: Any) -> GetNetworkResponse:  # noqa: N802, ARG002 - gRPC's
        """One network."""
        view = await self._view(stale=request.stale)
        return GetNetworkResponse(network=find(view, ObjectKind.NETWORK, request.id, Network))

    async def CreateNetwork(self, request: CreateNetworkRequest, context: Any) -> CreateNetworkResponse:  # noqa: N802, ARG002 - gRPC's
        """Make an overlay network; nodes get it when they run a task in it."""

        def decide(snapshot: Snapshot, edit: Edit) -> CreateNetworkResponse:
            network = new_network(snapshot, request.spec)
            edit.create(network)
            return CreateNetworkResponse(network=network)

        return await write(self._store, request.request_id, CreateNetworkResponse, decide)

    async def RemoveNetwork(self, request: RemoveRequest, context: Any) -> RemoveResponse:  # noqa: N802, ARG002 - gRPC's
        """Take out a network that no service joins; it is gone when the last address in it is free."""

        def decide(snapshot: Snapshot, edit: Edit) -> RemoveResponse:
            network = find(snapshot, ObjectKind.NETWORK, request.id, Network)
            if network.spec.ingress:
                raise RefusedError("The ingress network carries all published ports; it cannot be removed.")
            refuse_in_use(f"network {network.spec.annotations.name}", users_of_network(snapshot, network.id))
            if not network.pending_delete:
                edit.update(leaving(network))
            return RemoveResponse(id=network.id)

        return await write(self._store, request.request_id, RemoveResponse, decide)


def new_network(view: View, spec: NetworkSpec) -> Network:
    """The network of this spec, if it can be made in the present state."""
    check_spec(spec)
    name = spec.annotations.name
    refuse_taken_name(view, ObjectKind.NETWORK, name)
    if spec.ingress:
        raise BadRequestError("The cluster makes its ingress network by itself; there is only one.")
    for wanted in spec.ipam:
        if wanted.subnet:
            _refuse_overlap(view, name, ipaddress.ip_network(wanted.subnet, strict=False))
    return Network(id=new_id(), spec=spec)


def _refuse_overlap(view: View, name: str, wanted: ipaddress.IPv4Network | ipaddress.IPv6Network) -> None:
    for other in view.networks.values():
        if not other.subnet:
            continue
        taken = ipaddress.ip_network(other.subnet, strict=False)
        if taken.version == wanted.version and taken.overlaps(wanted):
            raise RefusedError(
                f"Subnet {wanted} of network {name} overlaps {taken} of network {other.spec.annotations.name}; choose "
                "another, or name none and let the cluster choose."
            )


def leaving(network: Network) -> Network:
    """A copy that is marked as removed."""
    copy = copy_of(network)
    copy.pending_delete = True
    return copy
