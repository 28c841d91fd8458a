"""Templates in a container's spec: what each stands for, and what is refused."""

import pytest
from swarm_api.objects_pb2 import NodeDescription, Task
from swarm_api.specs_pb2 import ConfigSpec, ContainerSpec, ServiceSpec
from swarm_api.templates import TemplateError, Values, expand, expand_container, values_of
from swarm_api.types_pb2 import Mount
from swarm_api.validation import problems


def values(slot: int = 3) -> Values:
    task = Task(id="t1", slot=slot, node_id="node1", service_id="s1")
    task.service_annotations.name = "web"
    task.service_annotations.labels.update({"tier": "front", "com.example.team": "red"})
    node = NodeDescription(hostname="n1")
    node.platform.os, node.platform.architecture = "linux", "amd64"
    return values_of(task, "node1", node)


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("no template, {one} brace, }}", "no template, {one} brace, }}"),
        ("{{.Node.ID}} {{.Node.Hostname}}", "node1 n1"),
        ("{{.Node.Platform.OS}}/{{ .Node.Platform.Architecture }}", "linux/amd64"),
        ("{{.Service.ID}} {{.Service.Name}}", "s1 web"),
        ("{{.Service.Labels.tier}} {{.Service.Labels.com.example.team}}", "front red"),
        ('{{index .Service.Labels "com.example.team"}}', "red"),
        ("[{{.Service.Labels.none}}]", "[]"),
        ("{{.Task.ID}} {{.Task.Name}} {{.Task.Slot}}", "t1 web.3.t1 3"),
        ("{{.Task.Slot}}{{.Task.Slot}}", "33"),
        ('{{"{{"}}json .}}', "{{json .}}"),
        ('{{"a \\" }} b"}}', 'a " }} b'),
    ],
)
def test_what_a_template_stands_for(text: str, meaning: str) -> None:
    assert expand(text, values()) == meaning


def test_a_task_of_a_global_service_has_its_node_for_a_slot() -> None:
    assert expand("{{.Task.Slot}}", values(slot=0)) == "node1"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{{.Node.Name}}", "{{.Node.Name}} is no template; there are .Node.ID"),
        ("{{if .Node.ID}}", "is no template"),
        ("{{}}", "is no template"),
        ("{{.Node.ID", "has no end"),
        ("{{.Node.ID}} and {{", "has no end"),
    ],
)
def test_what_means_nothing_is_refused(text: str, words: str) -> None:
    with pytest.raises(TemplateError) as refused:
        expand(text, values())
    assert words in str(refused.value)


def test_a_value_that_looks_like_a_template_is_not_expanded_again() -> None:
    odd = Values({".Node.Hostname": "{{.Task.ID}}"})
    assert expand("{{.Node.Hostname}}", odd) == "{{.Task.ID}}"


def test_environment_host_name_and_mounts_are_expanded_and_nothing_else() -> None:
    spec = ContainerSpec(hostname="h-{{.Task.Slot}}", env=["A={{.Node.Hostname}}"], args=["{{.Node.Hostname}}"])
    mount = spec.mounts.add(type=Mount.VOLUME, source="data-{{.Task.Slot}}", target="/{{.Service.Name}}")
    mount.volume_labels["node"] = "{{.Node.Hostname}}"
    mount.volume_driver_opts["device"] = "/srv/{{.Service.Name}}"
    expanded = expand_container(spec, values())
    assert (expanded.hostname, list(expanded.env), list(expanded.args)) == ("h-3", ["A=n1"], ["{{.Node.Hostname}}"])
    (made,) = expanded.mounts
    assert (made.source, made.target) == ("data-3", "/web")
    assert (dict(made.volume_labels), dict(made.volume_driver_opts)) == ({"node": "n1"}, {"device": "/srv/web"})
    assert mount.source == "data-{{.Task.Slot}}"  # the task's spec itself stays as it is


def service(**container: object) -> ServiceSpec:
    spec = ServiceSpec()
    spec.annotations.name = "web"
    spec.replicated.replicas = 1
    spec.task.container.CopyFrom(ContainerSpec(image="web:1", **container))  # type: ignore[arg-type]  # its fields
    return spec


def test_the_manager_accepts_templates_and_checks_what_is_around_them() -> None:
    bind = Mount(type=Mount.BIND, source="/srv/{{.Node.Hostname}}", target="/{{.Task.Slot}}")
    volume = Mount(type=Mount.VOLUME, source="{{.Service.Name}}-data", target="/data")
    good = service(hostname="{{.Service.Name}}-{{.Task.Slot}}", env=["A={{.Task.ID}}"], mounts=[bind, volume])
    assert problems(good) == []
    assert "is not a host name" in problems(service(hostname="a b{{.Task.Slot}}"))[0]
    relative = Mount(type=Mount.BIND, source="{{.Node.Hostname}}", target="/x")
    assert "not an absolute path on the node" in problems(service(mounts=[relative]))[0]


@pytest.mark.parametrize(
    ("container", "field"),
    [
        ({"env": ["A={{.Node.Nme}}"]}, "task.container.env: {{.Node.Nme}} is no template"),
        ({"hostname": "{{.Host}}"}, "task.container.hostname: {{.Host}} is no template"),
        ({"mounts": [Mount(source="{{.X}}", target="/x", type=Mount.VOLUME)]}, "task.container.mounts: {{.X}}"),
    ],
)
def test_the_manager_names_the_field_of_a_template_that_means_nothing(container: dict[str, object], field: str) -> None:
    (problem,) = problems(service(**container))
    assert field in problem


def test_data_with_templates_is_checked_where_it_is_said_to_have_some() -> None:
    spec = ConfigSpec(data=b"node={{.Node.Hostname}}", templating=True)
    spec.annotations.name = "c"
    assert problems(spec) == []
    spec.data = b'{{env "X"}}'
    assert 'data: {{env "X"}} is no template' in problems(spec)[0]
    spec.data = b"\xff"
    assert "no UTF-8 text" in problems(spec)[0]
    spec.templating = False
    assert problems(spec) == []
