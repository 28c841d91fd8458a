"""The node's networking as one thing: NodeNetwork makes kernel, nftables and DNS equal to the node's assignments.

It is level-triggered. Every apply() gets the whole current set, makes a plan of it (plan.py) and carries out what
differs from the last one; it may be called at any time, any number of times, and be killed anywhere. The order makes
each intermediate state a working one:

    bridges, devices, entries for new peers  ->  balancing, published ports  ->  DNS  ->  connections to the gone
    ->  entries of the gone  ->  networks of the gone

so that nothing is named before it can be reached, and nothing is unreachable while it is still named.

At start, every RECONCILE_PERIOD_S, after failures and after invalidate(), what is there is read back instead of
believed. Containers keep their network while the worker is away: nothing is taken down at its end.
"""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from swarm_api import naming
from swarm_api.dispatcher_pb2 import Assignment
from swarm_api.objects_pb2 import Task

from swarm_worker.net import balance, flows, ingress, settings
from swarm_worker.net.bridges import BridgeDriver, Bridges
from swarm_worker.net.dns import ResolverProcess, zones_of
from swarm_worker.net.errors import BridgeError, NetworkError, Problem
from swarm_worker.net.plan import NetworkView, WantedNetwork, mac_of, wanted
from swarm_worker.net.tables import Table

if TYPE_CHECKING:
    from swarm_worker.net.overlay import Overlays, OverlaySpec, Underlay

__all__ = ["BridgeDriver", "BridgeError", "NodeNetwork", "Problem"]

RECONCILE_PERIOD_S = 60.0
T = TypeVar("T")

FIRST_RETRY_S = 2.0  # after a failure; doubled up to the period


class NodeNetwork:
    """This node's part in the cluster's networks. Thread-safe; apply() blocks, everything else is quick."""

    def __init__(
        self,
        driver: BridgeDriver,
        node_id: str,
        node_address: str,
        state_dir: Path,
        run_dir: Path,
        *,
        resolv_conf: Path = Path("/etc/resolv.conf"),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`node_address` is the IPv4 address other nodes send overlay traffic to."""
        self._node_id = node_id
        self._clock = clock
        self._node_address = node_address
        self._overlays: Overlays | None = None
        self._bridges = Bridges(driver)
        self._balance = Table(balance.TABLE)
        self._ingress = Table(ingress.TABLE)
        self._resolver = ResolverProcess(run_dir, state_dir / "log" / "resolver.log", resolv_conf)
        self._lock = threading.Lock()
        self._plan: WantedNetwork | None = None
        self._ready: frozenset[str] = frozenset()
        self._problems: list[Problem] = []
        self._reconcile_at = float("-inf")
        self._retry_s = FIRST_RETRY_S

    def apply(self, assignments: Iterable[Assignment]) -> list[Problem]:
        """Make the node's network equal to these assignments (all there are); return what is not as wanted.

        Never raises for what the system does. Call it at every change, and every few seconds besides: without a
        change it only compares, retries what failed and now and then reads everything back. An empty set takes all
        of it down, except networks that containers are still attached to.
        """
        with self._lock:
            plan = wanted(assignments, self._node_id)
            full = self._clock() >= self._reconcile_at
            if full or plan != self._plan:
                self._problems = self._carry_out(plan, full=full)
            return list(self._problems)

    def invalidate(self) -> None:
        """Believe nothing at the next apply(): the engine was restarted, or something else changed under us."""
        with self._lock:
            self._reconcile_at = float("-inf")

    def ready(self, network_id: str) -> bool:
        """Whether containers may be attached to a network now."""
        return network_id in self._ready

    def container_dns(self, task: Task) -> list[str]:
        """The name servers of a task's container: this node's resolver, then another node's; none outside overlays.

        The first one knows all of the task's networks. The second is asked only while the first is gone.
        """
        networks = self._plan.networks if self._plan else {}
        joined = [networks[attachment.network_id] for attachment in task.networks if attachment.network_id in networks]
        if not joined:
            return []
        return [joined[0].gateway, *_other_gateway(joined, self._node_id)]

    @staticmethod
    def mac_of(address: str) -> str:
        """The MAC address that the container with an overlay address must be given."""
        return mac_of(address)

    def close(self) -> None:
        """Let go. Everything stays as it is: containers go on talking while no worker runs."""
        self._resolver.close()

    # -- carrying out a plan

    def _carry_out(self, plan: WantedNetwork, *, full: bool) -> list[Problem]:
        attempts = _Attempts()
        with self._open_overlays(plan) as overlays:
            if full:
                self._read_back(plan, overlays, attempts)
            connected = self._connect(plan, overlays, attempts) if overlays else []
            self._balance_connections(plan, attempts, full=full)
            attempts.make(self._serve_names, plan)
            attempts.make(self._forget_connections, plan)
            if overlays:
                for spec, underlay in connected:
                    attempts.make(overlays.prune, spec, underlay, network_id=spec.network_id)
            self._leave_networks(plan, overlays, attempts, full=full)
        self._plan = plan
        self._schedule(attempts, full=full)
        warnings = [*plan.refused, *ingress.occupied(plan.ports)]
        return [*attempts.problems, *(Problem(sentence) for sentence in warnings)]

    def _open_overlays(self, plan: WantedNetwork) -> "AbstractContextManager[Overlays | None]":
        """The kernel's side. None where it holds nothing of ours and nothing is wanted of it: then the daemon starts,
        and lives, without pyroute2, whose import takes as long as that of nearly everything else."""
        if self._overlays is None:
            if not plan.networks and not any(name.startswith(naming.VXLAN_PREFIX) for _, name in socket.if_nameindex()):
                return contextlib.nullcontext()
            from swarm_worker.net.overlay import Overlays

            self._overlays = Overlays(self._node_address)
        return self._overlays.open()

    def _schedule(self, attempts: "_Attempts", *, full: bool) -> None:
        """When to read everything back next: soon after a failure, and less soon each time it stays."""
        now = self._clock()
        if attempts.problems:
            self._reconcile_at = now + self._retry_s
            self._retry_s = min(self._retry_s * 2, RECONCILE_PERIOD_S)
        elif full:
            self._reconcile_at = now + RECONCILE_PERIOD_S
            self._retry_s = FIRST_RETRY_S

    def _read_back(self, plan: WantedNetwork, overlays: "Overlays | None", attempts: "_Attempts") -> None:
        if overlays:
            overlays.forget()
        self._bridges.forget()
        if plan.networks:
            attempts.make(settings.ensure_bridge_filtering)
            attempts.make(settings.ensure_forwarding)

    def _connect(
        self, plan: WantedNetwork, overlays: "Overlays", attempts: "_Attempts"
    ) -> "list[tuple[OverlaySpec, Underlay]]":
        """Have bridges, devices and entries; return the networks of which all that is there."""
        if not plan.networks:
            self._ready = frozenset()
            return []
        from swarm_worker.net.overlay import OverlaySpec

        underlay = attempts.get(overlays.underlay)
        if underlay is None:
            return []
        connected = []
        ready = set()
        for network in plan.networks.values():
            spec = OverlaySpec.of(network, plan, underlay)
            bridged = attempts.make(self._bridges.ensure, network, spec.mtu, network_id=network.network_id)
            if not bridged and not overlays.exists(spec.bridge):
                continue  # an engine that is down does not keep its bridge from being connected
            if attempts.make(overlays.ensure, spec, underlay, network_id=network.network_id):
                connected.append((spec, underlay))
                if bridged:
                    ready.add(network.network_id)
        self._ready = frozenset(ready)
        return connected

    def _balance_connections(self, plan: WantedNetwork, attempts: "_Attempts", *, full: bool) -> None:
        if not plan.networks:
            attempts.make(self._remove_rules)
            return
        attempts.make(self._balance.apply, balance.virtual_ips(plan))
        attempts.make(self._ingress.apply, ingress.ports(plan))
        newly_published = bool(plan.ports) and not (self._plan and self._plan.ports)
        for network in plan.networks.values():
            if network.ingress and network.network_id in self._ready:
                attempts.make(settings.ensure_localhost_routing, network.bridge)
        if plan.ports and (full or newly_published):
            attempts.make(ingress.let_pass)
        if full:
            attempts.make(self._balance.verify)
            attempts.make(self._ingress.verify)

    def _remove_rules(self) -> None:
        for table in (self._balance, self._ingress):
            if table.exists():
                table.remove()
        ingress.let_pass_no_more()

    def _serve_names(self, plan: WantedNetwork) -> None:
        if not plan.networks:
            self._resolver.stop()
            return
        errors = self._resolver.publish(zones_of(plan))
        if errors:
            gateway, reason = min(errors.items())
            raise NetworkError(f"The resolver cannot listen on {gateway}:53: {reason}.")

    def _forget_connections(self, plan: WantedNetwork) -> None:
        """Let no connection go on to an endpoint that is no more, nor to nobody though there is one by now."""
        known = frozenset(e.address for network in plan.networks.values() for e in network.endpoints)
        if self._plan is None:
            flows.forget(flows.strays((network.subnet for network in plan.networks.values()), known))
            return
        before = {
            e.address for key, network in self._plan.networks.items() for e in network.endpoints if key in plan.networks
        }
        flows.forget(sorted(before - known))
        served_before = {(port.protocol, port.published_port) for port in self._plan.ports if port.targets}
        for port in plan.ports:
            if port.protocol == "udp" and port.targets and ("udp", port.published_port) not in served_before:
                flows.forget_port("udp", port.published_port)

    def _leave_networks(
        self, plan: WantedNetwork, overlays: "Overlays | None", attempts: "_Attempts", *, full: bool
    ) -> None:
        """Remove the networks this node takes part in no more; one with containers stays until they are gone."""
        before = self._plan.networks.keys() if self._plan else set()
        listed = attempts.get(self._bridges.listed) if full or before - plan.networks.keys() else None
        if listed is None:
            return
        kept = {network.device for network in plan.networks.values()}
        for network_id in listed:
            wanted_still = network_id in plan.networks
            if not wanted_still and not attempts.make(self._bridges.remove, network_id, network_id=network_id):
                kept.add(naming.vxlan_name(network_id))
        if overlays is None:
            return
        for device in sorted((attempts.get(overlays.devices) or set()) - kept):
            attempts.make(overlays.remove, device)
        for network_id in before - plan.networks.keys():
            overlays.forget(network_id)


class _Attempts:
    """Carries steps out one by one; what fails becomes a problem, and the next step is made all the same."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def make(self, step: Callable[..., object], *args: object, network_id: str = "") -> bool:
        """Whether the step could be made."""
        try:
            step(*args)
        except (NetworkError, OSError) as error:
            self._note(error, network_id)
            return False
        return True

    def get(self, step: Callable[[], T]) -> T | None:
        """What the step finds; None when it fails."""
        try:
            return step()
        except (NetworkError, OSError) as error:
            self._note(error, "")
            return None

    def _note(self, error: Exception, network_id: str) -> None:
        problem = Problem(str(error), network_id)
        if problem not in self.problems:
            self.problems.append(problem)


def _other_gateway(networks: list[NetworkView], node_id: str) -> list[str]:
    """The gateway of the next node after this one: each node's spare is another one."""
    gateways = networks[0].gateways
    later = [gateway.address for gateway in gateways if gateway.node_id > node_id]
    return (later or [gateway.address for gateway in gateways])[:1]
