"""Calls to Docker's engine: one client a thread, explicit time limits, and errors in the worker's own words.

An engine that answers "no" has refused (RefusedError, NotThereError); one that does not answer, or not in time, is
unavailable (UnavailableError), and whether it did what was asked is unknown.
"""

import contextlib
import errno
import socket
import threading
from collections.abc import Iterator

import docker
import docker.errors
import requests
import urllib3

from swarm_worker.engine.spec import ApiVersion
from swarm_worker.runtime import ImageMissingError, NotThereError, RefusedError, UnavailableError

QUICK_S = 15  # lists, inspections, signals
LONG_S = 120  # creating, starting, removing: a busy disk may take its time
SILENCE_S = 300  # of a registry in the middle of a pull

#: The newest API whose answers we know, and the oldest that has all we need (Docker 19.03).
NEWEST_API: ApiVersion = (1, 47)
OLDEST_API: ApiVersion = (1, 40)

_NO_ANSWER = (docker.errors.DockerException, requests.RequestException, urllib3.exceptions.HTTPError, OSError)


class DockerApi:
    """Access to one engine from any thread."""

    def __init__(self, address: str) -> None:
        """`address` as in DOCKER_HOST: `unix:///var/run/docker.sock`."""
        self.address = address
        self._version = ""
        self._local = threading.local()

    @property
    def version(self) -> ApiVersion:
        """The API version spoken; (0, 0) before the first successful call."""
        major, _, minor = self._version.partition(".")
        return (int(major), int(minor)) if self._version else (0, 0)

    @contextlib.contextmanager
    def call(self, timeout_s: int) -> Iterator[docker.APIClient]:
        """This thread's client, for one call or a few; every exception of the library becomes a EngineError."""
        with self.translated():
            client = self._client()
            client.timeout = timeout_s
            yield client

    def negotiate(self) -> None:
        """Agree on an API version, at first and whenever the engine came back (it may have been upgraded)."""
        with self.translated():
            client = docker.APIClient(self.address, version=_text(OLDEST_API), timeout=QUICK_S, num_pools=1)
            with contextlib.closing(client):
                offered = str(client.version(api_version=False)["ApiVersion"])
        major, _, minor = offered.partition(".")
        agreed = min((int(major), int(minor)), NEWEST_API)
        if agreed < OLDEST_API:
            raise UnavailableError(
                f"Docker on {self.address} is too old: it speaks API {offered} and {_text(OLDEST_API)} is needed; "
                "upgrade it to 19.03 or later."
            )
        self._version = _text(agreed)

    def events_client(self) -> docker.APIClient:
        """A client of its own for the event stream, which has no time limit. The caller closes it."""
        return docker.APIClient(self.address, version=self._version, timeout=QUICK_S, num_pools=1)

    def _client(self) -> docker.APIClient:
        if not self._version:
            self.negotiate()
        client = getattr(self._local, "client", None)
        if client is None or self._local.version != self._version:
            client = docker.APIClient(self.address, version=self._version, timeout=QUICK_S, num_pools=1)
            self._local.client, self._local.version = client, self._version
        return client

    @contextlib.contextmanager
    def translated(self) -> Iterator[None]:
        """Turn the library's exceptions into EngineErrors."""
        try:
            yield
        except docker.errors.ImageNotFound as error:
            raise ImageMissingError(explain(error)) from error
        except docker.errors.NotFound as error:
            raise NotThereError(explain(error)) from error
        except docker.errors.APIError as error:
            if error.status_code == requests.codes.service_unavailable:
                raise UnavailableError(self.diagnose(explain(error))) from error
            raise RefusedError(explain(error)) from error
        except requests.exceptions.Timeout as error:
            raise UnavailableError(f"Docker on {self.address} did not answer in time.") from error
        except _NO_ANSWER as error:
            raise UnavailableError(self.diagnose(str(error))) from error

    def diagnose(self, fallback: str) -> str:
        """Why the engine does not answer and what to do, as one sentence."""
        path = self.address.removeprefix("unix://")
        if path == self.address:
            return f"Docker does not answer on {self.address}: {fallback}."
        try:
            with socket.socket(socket.AF_UNIX) as probe:
                probe.settimeout(QUICK_S)
                probe.connect(path)
        except PermissionError:
            return f"No permission for Docker's socket {path}: run swarm-worker as root."
        except OSError as error:
            reason = "nobody listens there" if error.errno == errno.ECONNREFUSED else (error.strerror or str(error))
            return f"Docker does not answer on {path}: {reason}; install or start it ('systemctl start docker')."
        return f"Docker on {path} broke off: {fallback}."


def explain(error: docker.errors.APIError) -> str:
    """The engine's own words."""
    text = error.explanation or str(error)
    return str(text.decode(errors="replace") if isinstance(text, bytes) else text).strip()


def _text(version: ApiVersion) -> str:
    return f"{version[0]}.{version[1]}"
