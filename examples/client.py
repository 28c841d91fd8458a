#!/usr/bin/env python3
"""The Python client in thirty lines: create a service, watch it converge, look at its tasks, remove it.

Run it on a manager as root, or anywhere with a context (`swarm-cli context create` makes one):

    python examples/client.py [--context NAME] [--image IMAGE] [--replicas N]
"""

import argparse
import sys

from swarm_api.client import Client, Convergence, replicated
from swarm_api.errors import ClientError
from swarm_api.states import state_name


def main() -> int:
    """Exit code 0 when the service ran and was removed again."""
    parser = argparse.ArgumentParser(description="Create a service, watch it converge, remove it.")
    parser.add_argument("--context", help="the cluster to use (default: SWARM_CONTEXT, or this node's)")
    parser.add_argument("--name", default="example", help="of the service (default: %(default)s)")
    parser.add_argument("--image", default="nginx:1", help="what to run (default: %(default)s)")
    parser.add_argument("--replicas", type=int, default=3, help="how many (default: %(default)s)")
    parser.add_argument("--timeout-s", type=float, default=120, help="to wait for them (default: %(default)s)")
    options = parser.parse_args()
    try:
        with Client.connect(context=options.context) as client:
            run(client, options)
    except ClientError as error:  # its text is a sentence for people
        print(f"failed: {error}", file=sys.stderr)
        return 1
    return 0


def run(client: Client, options: argparse.Namespace) -> None:
    """The life of one service."""
    service = client.services.create(replicated(options.name, options.image, replicas=options.replicas))
    print(f"created {service.spec.annotations.name} ({service.id})")
    try:
        client.wait_converged(service, timeout_s=options.timeout_s, on_progress=show)
        nodes = {node.id: node.description.hostname for node in client.nodes.list()}
        for task in client.tasks.list(service=service.id):
            print(f"slot {task.slot}: {state_name(task.status.state)} on {nodes.get(task.node_id, 'no node')}")
    finally:
        client.services.remove(service.id)
        print(f"removed {options.name}")


def show(standing: list[Convergence]) -> None:
    """Called after every look at the services that are waited for."""
    print("  " + "; ".join(map(str, standing)))


if __name__ == "__main__":
    sys.exit(main())
