"""Requests that a manager grants: what hostile ones are made from, so that they get past the first check."""

from collections.abc import Mapping, Sequence

from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message
from swarm_api import identity
from swarm_api.ca_pb2 import IssueAdminCertificateRequest, IssueNodeCertificateRequest, RenewNodeCertificateRequest
from swarm_api.control_pb2 import (
    CreateConfigRequest,
    CreateNetworkRequest,
    CreateSecretRequest,
    CreateServiceRequest,
    DeployStackRequest,
    ListRequest,
    ListTasksRequest,
    RebalanceRequest,
    RemoveNodeRequest,
    UpdateClusterRequest,
    UpdateConfigRequest,
    UpdateNodeRequest,
    UpdateSecretRequest,
    UpdateServiceRequest,
    WatchRequest,
)
from swarm_api.dispatcher_pb2 import SessionRequest, UpdateTaskStatusRequest
from swarm_api.raft_pb2 import RaftJoinRequest

CSR = identity.new_key_and_csr()[1]

SERVICE = {
    "annotations": {"name": "full", "labels": {"team": "a"}},
    "task": {
        "container": {
            "image": "busybox:1",
            "command": ["sleep", "9"],
            "env": ["A=b", "NODE={{.Node.Hostname}}"],
            "mounts": [{"type": "VOLUME", "source": "data", "target": "/data"}],
            "secrets": [{"secretName": "password", "target": {"name": "password"}}],
            "configs": [{"configName": "settings", "target": {"name": "/etc/settings"}}],
            "healthcheck": {"test": ["CMD", "true"], "interval": "2s", "retries": 3},
            "stopGracePeriod": "3s",
            "hosts": ["db:10.0.0.9"],
            "ulimits": [{"name": "nofile", "soft": 10, "hard": 20}],
        },
        "resources": {"reservations": {"nanoCpus": 1000000}, "limits": {"memoryBytes": 10000000}},
        "restart": {"delay": "1s", "window": "5s"},
        "placement": {
            "constraints": ["node.role == worker"],
            "preferences": [{"descriptor": "node.labels.zone"}],
            "affinities": [{"soft": True, "kind": "service", "pattern": "web"}],
            "maxReplicas": 2,
        },
        "networks": [{"target": "net", "aliases": ["alias"]}],
    },
    "replicated": {"replicas": 3},
    "update": {"parallelism": 1, "delay": "1s", "monitor": "2s", "maxFailureRatio": 0.5},
    "rollback": {"parallelism": 1},
    "endpoint": {"ports": [{"targetPort": 80, "publishedPort": 8080}]},
    "dependsOn": [{"service": "web"}],
    "rebalance": True,
}
JOB = {
    "annotations": {"name": "nightly"},
    "task": {"container": {"image": "busybox:1"}},
    "replicatedJob": {"maxConcurrent": 1, "totalCompletions": 3},
    "schedule": {
        "expression": "*/5 * * * *",
        "timeZone": "Europe/Berlin",
        "startingDeadline": "60s",
        "historyLimit": 3,
    },
}
NETWORK = {
    "annotations": {"name": "inner"},
    "driver": "overlay",
    "ipam": [{"subnet": "10.99.0.0/24", "ipRange": "10.99.0.0/25", "gateway": "10.99.0.1"}],
}
DATA = {"annotations": {"name": "text"}, "data": "e3suTm9kZS5JRH19", "templating": True}
CLUSTER = {
    "annotations": {"name": "default"},
    "heartbeatPeriod": "1s",
    "nodeDownAfter": "3s",
    "certificateValidity": "7776000s",
    "orphanAfter": "86400s",
    "taskHistoryLimit": 5,
    "addressPools": ["10.128.0.0/11"],
    "subnetPrefixLength": 24,
    "vxlanPort": 4790,
}
DESCRIPTION = {
    "hostname": "host",
    "platform": {"os": "linux", "architecture": "amd64"},
    "resources": {"nanoCpus": 4000000000, "memoryBytes": 8000000000},
}


def sound_requests(tasks: Sequence[str], version: Mapping[str, int]) -> dict[str, list[Message]]:
    """By the method's name; `version`: of the objects that are there, by id."""
    of = {object_id: {"index": version.get(object_id, 0)} for object_id in ("service1", "c1", "w1")}
    filters = {"names": ["web"], "labels": {"team": ""}, "idPrefixes": ["s"]}
    changed = {**SERVICE, "annotations": {"name": "web"}, "dependsOn": []}
    reports = [{"taskId": task, "status": {"state": "RUNNING", "timestamp": "2026-01-01T00:00:00Z"}} for task in tasks]
    stack = {
        "name": "app",
        "source": "services: {}",
        "networks": [{**NETWORK, "annotations": {"name": "app_inner"}}],
        "secrets": [{**DATA, "annotations": {"name": "app_secret"}}],
        "configs": [{**DATA, "annotations": {"name": "app_config"}}],
        "services": [
            {**SERVICE, "annotations": {"name": "app_full"}},
            {**JOB, "annotations": {"name": "app_nightly"}, "dependsOn": [{"service": "app_full"}]},
        ],
        "prune": True,
    }
    return {
        "CreateService": [ParseDict({"spec": spec}, CreateServiceRequest()) for spec in (SERVICE, JOB)],
        "UpdateService": [
            ParseDict({"id": "service1", "version": of["service1"], **change}, UpdateServiceRequest())
            for change in ({"spec": changed}, {"rollback": True})
        ],
        "CreateNetwork": [ParseDict({"spec": NETWORK}, CreateNetworkRequest())],
        "CreateSecret": [ParseDict({"spec": DATA}, CreateSecretRequest())],
        "CreateConfig": [ParseDict({"spec": DATA}, CreateConfigRequest())],
        "UpdateSecret": [ParseDict({"id": "password", "spec": {"data": "YQ=="}}, UpdateSecretRequest())],
        "UpdateConfig": [ParseDict({"id": "settings", "spec": {"data": "YQ=="}}, UpdateConfigRequest())],
        "UpdateCluster": [ParseDict({"version": of["c1"], "spec": CLUSTER}, UpdateClusterRequest())],
        "UpdateNode": [
            ParseDict(
                {"id": "w1", "version": of["w1"], "spec": {"annotations": {"labels": {"zone": "a"}}, "role": "WORKER"}},
                UpdateNodeRequest(),
            )
        ],
        "RemoveNode": [RemoveNodeRequest(id="w1", force=True)],
        "DeployStack": [ParseDict(stack, DeployStackRequest())],
        "Rebalance": [RebalanceRequest(all=True), RebalanceRequest(services=["web"], dry_run=True)],
        "ListServices": [ParseDict({"filter": filters}, ListRequest())],
        "ListTasks": [ParseDict({"filter": filters, "desiredStates": ["RUNNING"]}, ListTasksRequest())],
        "Watch": [ParseDict({"filter": filters, "kinds": ["SERVICE"]}, WatchRequest())],
        "Session": [ParseDict({"description": DESCRIPTION, "address": "10.0.0.2", "bootId": 7}, SessionRequest())],
        "UpdateTaskStatus": [
            ParseDict({"reports": reports, "description": DESCRIPTION}, UpdateTaskStatusRequest()),
        ],
        "IssueNodeCertificate": [IssueNodeCertificateRequest(csr_pem=CSR, hostname="h")],
        "RenewNodeCertificate": [RenewNodeCertificateRequest(csr_pem=CSR)],
        "IssueAdminCertificate": [IssueAdminCertificateRequest(csr_pem=CSR, name="ann")],
        "Join": [RaftJoinRequest(node_id="m1", raft_address="10.0.0.1:2378", api_address="10.0.0.1:2377")],
    }
