"""Runs in a testbed host as the worker would: a NodeNetwork on the host's real engine, driven over stdin.

Each line in is one call (a JSON document), each line out its result. The end of stdin is the end of the worker.
"""

from __future__ import annotations

import base64
import json
import sys
import time
from pathlib import Path
from typing import Any

from swarm_api.dispatcher_pb2 import SessionMessage
from swarm_api.objects_pb2 import Task
from swarm_worker.engine.api import DockerApi
from swarm_worker.engine.networks import DockerBridges
from swarm_worker.net.network import NodeNetwork

STATE_DIR, RUN_DIR = Path("/var/lib/raftswarm"), Path("/run/raftswarm")


def do(network: NodeNetwork, call: dict[str, Any]) -> Any:
    if call["do"] == "apply":
        message = SessionMessage.FromString(base64.b64decode(call["message"]))
        started, used = time.monotonic(), time.process_time()
        problems = network.apply(message.set)
        took = {"seconds": time.monotonic() - started, "cpu_s": time.process_time() - used}
        return {"problems": [str(problem) for problem in problems], **took}
    if call["do"] == "dns":
        return network.container_dns(Task.FromString(base64.b64decode(call["task"])))
    if call["do"] == "invalidate":
        return network.invalidate()
    assert call["do"] == "ready"
    return network.ready(call["network"])


def main() -> None:
    node_id, node_address = sys.argv[1:]
    bridges = DockerBridges(DockerApi("unix:///var/run/docker.sock"))
    network = NodeNetwork(bridges, node_id, node_address, STATE_DIR, RUN_DIR)
    for line in sys.stdin:
        print(json.dumps(do(network, json.loads(line))), flush=True)
    network.close()


if __name__ == "__main__":
    main()
