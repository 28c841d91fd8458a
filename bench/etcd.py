"""The peer of Raft: etcd 3.4 from Debian's packages, on the same hosts, disks and network, with the same kind of TLS.

The packages are unpacked, not installed, where etcd is missing: installing them would start a server on the machine.
Each etcd keeps its data in its host's /var/lib/raftswarm as our members do, syncs its log as it does by default, and
takes only TLS with client certificates from its clients and its peers.  Load comes from bench.etcd_client, which runs
in the leader's host.
"""

from __future__ import annotations

import ipaddress
import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import NameOID
from swarm_api.identity import new_key, utc_now

from bench.side import BenchError
from tests.testbed.errors import CommandFailed
from tests.testbed.host import Host
from tests.testbed.process import run, wait_until

CACHE = Path("/var/tmp/raftswarm-bench-etcd")
DATA = "/var/lib/raftswarm/etcd"
CLIENT_PORT, PEER_PORT = 2379, 2380
QUOTA_BYTES = 8 << 30


def programs() -> Path:
    """The folder that has etcd and etcdctl; unpacked from Debian's packages when the machine has none."""
    found = shutil.which("etcd")
    if found and shutil.which("etcdctl"):
        return Path(found).parent
    if not (CACHE / "usr/bin/etcdctl").exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        try:
            run(["sh", "-c", f"cd {CACHE} && apt-get -q update && apt-get -q download etcd-server etcd-client"])
            run(["sh", "-c", f'cd {CACHE} && for package in *.deb; do dpkg -x "$package" .; done'])
        except CommandFailed as error:
            raise BenchError(f"etcd could not be fetched with apt-get, so there is no peer: {error}") from error
    return CACHE / "usr/bin"


@dataclass
class Etcd:
    """An etcd on each host."""

    hosts: Sequence[Host]
    name: str = "etcd"

    def form(self) -> None:
        """Start all of them on empty disks, and wait for a leader."""
        self._bin = programs()
        _write_certificates(self.hosts)
        for host in self.hosts:
            self.start(host)
        self.wait()

    def wait(self) -> None:
        """Wait until all of them follow one leader."""
        wait_until(lambda: self._leaders() == 1, "etcd's leader", 60, 0.2)

    def start(self, host: Host) -> None:
        own = {"client": f"https://{host.address}:{CLIENT_PORT}", "peer": f"https://{host.address}:{PEER_PORT}"}
        cluster = ",".join(f"{other.name}=https://{other.address}:{PEER_PORT}" for other in self.hosts)
        options = {
            "name": host.name,
            "data-dir": f"{DATA}/data",
            "listen-client-urls": own["client"],
            "advertise-client-urls": own["client"],
            "listen-peer-urls": own["peer"],
            "initial-advertise-peer-urls": own["peer"],
            "initial-cluster": cluster,
            "log-level": "warn",
            "quota-backend-bytes": str(QUOTA_BYTES),
        }
        for prefix in ("", "peer-"):
            files = {"cert-file": "cert.pem", "key-file": "key.pem", "trusted-ca-file": "ca.pem"}
            options |= {prefix + option: f"{DATA}/tls/{file}" for option, file in files.items()}
        switches = ["--client-cert-auth", "--peer-client-cert-auth"]
        words = [word for option, value in options.items() for word in (f"--{option}", value)]
        host.spawn([self._bin / "etcd", *words, *switches], host.folder / "etcd.log")

    def kill(self, host: Host) -> None:
        """kill -9."""
        host.kill("etcd")

    def stop(self) -> None:
        for host in self.hosts:
            if any(process.name == "etcd" for process in host.processes()):
                host.kill("etcd")

    def leader(self) -> Host:
        """The host whose etcd leads."""
        return next(host for host in self.hosts if self._leads(host))

    def load(self, host: Host, what: str, outstanding: int, duration_s: float) -> dict[str, Any]:
        """Writes or reads from within this host; see bench.etcd_client."""
        found: dict[str, Any] = self._client(
            host, what=what, outstanding=outstanding, duration_s=duration_s, size_bytes=1024
        )
        return found

    def probe(self, host: Host, duration_s: float) -> list[list[float]]:
        """Put through this host again and again; when each that succeeded began and ended (monotonic clock)."""
        answered: list[list[float]] = self._client(host, what="probe", duration_s=duration_s, size_bytes=256)[
            "answered"
        ]
        return answered

    def _client(self, host: Host, **spec: object) -> Any:
        spec |= {"host": host.address, "port": CLIENT_PORT, "tls": f"{DATA}/tls"}
        return json.loads(host.run([sys.executable, "-m", "bench.etcd_client", json.dumps(spec)]).stdout)

    def _leaders(self) -> int:
        """How many leaders the members name, if all answer."""
        told = [self._status(host) for host in self.hosts]
        return len({status["leader"] for status in told if status}) if all(told) else 0

    def _leads(self, host: Host) -> bool:
        status = self._status(host)
        return bool(status) and status["leader"] == status["header"]["member_id"]

    def _status(self, host: Host) -> dict[str, Any]:
        """What this member says; empty when it does not answer, or knows no leader."""
        files = [f"--{option}={DATA}/tls/{option}.pem" for option in ("cert", "key")]
        endpoint = f"--endpoints=https://{host.address}:{CLIENT_PORT}"
        etcdctl = [str(self._bin / "etcdctl"), endpoint, *files, f"--cacert={DATA}/tls/ca.pem"]
        told = host.run([*etcdctl, "endpoint", "status", "-w=json"], check=False).stdout
        status: dict[str, Any] = json.loads(told)[0]["Status"] if told.startswith("[{") else {}
        return status if status.get("leader") else {}


def _write_certificates(hosts: Sequence[Host]) -> None:
    """One authority, and one certificate for all the hosts' addresses, on each host's disk."""
    ca_key, key_pem = ec.generate_private_key(ec.SECP256R1()), new_key()
    key = load_pem_private_key(key_pem, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    addresses = [x509.IPAddress(ipaddress.ip_address(host.address)) for host in hosts]
    ca = _certificate("etcd-ca", ca_key.public_key(), ca_key, x509.BasicConstraints(ca=True, path_length=None))
    own = _certificate("etcd", key.public_key(), ca_key, x509.SubjectAlternativeName(addresses))
    for host in hosts:
        folder = host.folder / "raftswarm" / "etcd"
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "tls").mkdir(parents=True)
        for name, content in (("ca", ca), ("cert", own), ("key", key_pem)):
            (folder / "tls" / f"{name}.pem").write_bytes(content)


def _certificate(
    name: str, key: ec.EllipticCurvePublicKey, ca_key: ec.EllipticCurvePrivateKey, extension: x509.ExtensionType
) -> bytes:
    now = utc_now()
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "etcd-ca")]))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(extension, critical=False)
    )
    return builder.sign(ca_key, hashes.SHA256()).public_bytes(Encoding.PEM)
