"""Placement that classic Swarm's users wrote into the environment."""

import pytest
from swarm_api.specs_pb2 import Affinity, TaskSpec
from swarm_cli.classic import constraint_text, take_placement


@pytest.mark.parametrize(
    ("classic", "ours"),
    [
        ("node==n2", "node.hostname==n2"),
        ("node!=n2", "node.hostname!=n2"),
        ("node==~web*", "node.hostname==~web*"),
        ("node==/n[12]/", "node.hostname==/n[12]/"),
        ("node==6t3x9c5x0b3k6y1z2w3v4u5t6", "node.id==6t3x9c5x0b3k6y1z2w3v4u5t6"),
        ("storage==ssd", "engine.labels.storage==ssd"),
        ("com.example.zone!=a", "engine.labels.com.example.zone!=a"),
        ("storagedriver==overlay2", "engine.storagedriver==overlay2"),
        ("kernelversion==6.*", "engine.kernelversion==6.*"),
        ("node.labels.disk==ssd", "node.labels.disk==ssd"),
    ],
)
def test_constraints(classic: str, ours: str) -> None:
    assert constraint_text(classic) == ours


@pytest.mark.parametrize("text", ["node", "node=n2", "==n2", "operatingsystem==*fedora*", "node==/(/"])
def test_constraints_that_cannot_be_read(text: str) -> None:
    with pytest.raises(ValueError, match=r"\.$"):
        constraint_text(text)


def test_placement_leaves_the_environment() -> None:
    task = TaskSpec()
    task.container.env.extend(
        [
            "A=1",
            "constraint:node==n2",
            "affinity:container!=*db*",
            "affinity:service==~cache",
            "affinity:image==redis",
            "affinity:tier!=front",
            "reschedule:off",
            "constraintless=b",
        ]
    )
    take_placement(task, lambda name: {"cache": "shop_cache"}.get(name, name))
    assert list(task.container.env) == ["A=1", "constraintless=b"]
    assert list(task.placement.constraints) == ["node.hostname==n2"]
    assert list(task.placement.affinities) == [
        Affinity(kind="container", pattern="*db*", anti=True),
        Affinity(kind="service", pattern="shop_cache", soft=True),
        Affinity(kind="image", pattern="redis"),
        Affinity(kind="label", pattern="tier=front", anti=True),
    ]
    assert task.on_disconnect == TaskSpec.KEEP


def test_taking_it_twice_adds_nothing() -> None:
    task = TaskSpec()
    for _ in range(2):
        task.container.env.append("constraint:node==n2")
        take_placement(task)
    assert list(task.placement.constraints) == ["node.hostname==n2"]


def test_a_policy_nobody_knows() -> None:
    task = TaskSpec()
    task.container.env.append("reschedule:never")
    with pytest.raises(ValueError, match="no reschedule policy"):
        take_placement(task)
