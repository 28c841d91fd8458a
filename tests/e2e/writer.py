"""A client that writes without end, for tests of what clients must not notice.

Run in a host: `python writer.py FILE NAME CONTEXT [MANAGER...]`, with `-` for no context. Each write makes a config and
removes it; FILE gets `ok` or the error's sentence, one line a write. Ends when FILE.stop exists. What `swarm_api`
retries by itself shows nowhere: that is its promise.
"""

import itertools
import sys
import time
from pathlib import Path

from swarm_api.client import Client
from swarm_api.errors import ClientError
from swarm_api.specs_pb2 import ConfigSpec

PAUSE_S = 0.02  # leaves the machine time for what is tested


def main() -> None:
    """Write until told to stop."""
    file, name, context, *managers = sys.argv[1:]
    stop = Path(f"{file}.stop")
    with (
        Path(file).open("w", buffering=1) as out,
        Client.connect(managers, context=None if context == "-" else context) as client,
    ):
        for number in itertools.count():
            if stop.exists():
                return
            print(write(client, f"{name}-{number}"), file=out)
            time.sleep(PAUSE_S)


def write(client: Client, name: str) -> str:
    """One write there and back."""
    spec = ConfigSpec(data=name.encode())
    spec.annotations.name = name
    try:
        client.configs.remove(client.configs.create(spec).id)
    except ClientError as error:
        return f"{type(error).__name__}: {error}"
    return "ok"


if __name__ == "__main__":
    main()
