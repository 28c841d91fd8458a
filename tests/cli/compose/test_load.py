"""What is a compose file, and what is wrong with one that is not."""

from collections.abc import Callable
from pathlib import Path

import pytest
from swarm_cli.compose.load import Project, find_files, load, sanitized
from swarm_cli.errors import ComposeError

Load = Callable[..., Project]


@pytest.fixture
def loaded(tmp_path: Path) -> Load:
    """Load texts as files of one project."""

    def act(*texts: str, **options: object) -> Project:
        paths = []
        for number, text in enumerate(texts):
            path = tmp_path / f"compose{number or ''}.yaml"
            path.write_text(text)
            paths.append(str(path))
        return load(paths, environ={}, **options)  # type: ignore[arg-type]

    return act


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "is no compose file: it is empty"),
        ("hello", "is no compose file: it is a string"),
        ("- a\n- b", "is no compose file: it is a list"),
        ("name: x", "has no 'services:'"),
        ("web:\n  image: nginx", "version 1 must put its services below 'services:'"),
        ("services:\n  web:\n    image: nginx\n    imagee: x", r"yaml:4: services.web.imagee is no key.*'image'"),
        ("services: {web: {image: nginx}}\nvolume: {}", "did you mean 'volumes'"),
        ("services: {web: {image: nginx, deploy: {replica: 2}}}", r"services.web.deploy.replica is no key.*'replicas'"),
        ("services: {web: {image: [a]}}", "services.web.image must be a string, not a list"),
        ("services: [web]", "services must be a mapping"),
        ("services: {web: nginx}", "services.web must be a mapping"),
        ("services: {web: }", "services.web must be a mapping .*, not empty"),
        ("services: {'a b': {image: x}}", "services.a b is no key"),
        ("services: {web: {image: x, ports: 80}}", "services.web.ports must be a list"),
        ("services: {web: {image: x, depends_on: {db: {condition: up}}}}", "condition is 'up'; it must be one of"),
        ("services: {web: {}}", "services.web has neither an image nor a build"),
        ("services: {web: {image: x, depends_on: [db]}}", "names the service 'db'"),
        ("services: {web: {image: x, links: ['db:d']}}", "web.links names the service 'db'"),
        ("services: {web: {image: x, pid: 'service:db'}}", "web.pid names the service 'db'"),
        ("services: {web: {image: x, networks: [net]}}", "names the network 'net'"),
        ("services: {web: {image: x, volumes: ['data:/data']}}", "names the volume 'data'"),
        ("services: {web: {image: x, volumes: [':/data']}}", "a part between colons is empty"),
        ("services: {web: {image: x, secrets: [key]}}", "names the secret 'key'"),
        ("services: {web: {image: x, configs: [{source: c}]}}", "names the config 'c'"),
        ("services: {a: {image: x, depends_on: [b]}, b: {image: x, depends_on: [a]}}", "in a circle: a -> b -> a"),
        ("services: {a: {image: x, depends_on: [a]}}", "in a circle: a -> a"),
        ("services: {a: {image: x}}\ninclude: [b.yaml]", "include is not supported yet"),
        ("name: Not A Name\nservices: {a: {image: x}}", "cannot name a project"),
    ],
)
def test_what_is_refused_and_how(text: str, sentence: str, loaded: Load) -> None:
    with pytest.raises(ComposeError, match=sentence) as caught:
        loaded(text)
    assert "\n" not in str(caught.value)
    assert "compose.yaml" in str(caught.value) or "project" in str(caught.value)


def test_own_keys_are_welcome_everywhere(loaded: Load) -> None:
    project = loaded("x-a: 1\nservices: {web: {image: x, x-b: 2, deploy: {x-c: 3}}}")
    assert list(project.services) == ["web"]


def test_services_of_a_profile_are_left_out_unless_wanted(loaded: Load) -> None:
    text = "services: {web: {image: x}, debug: {image: x, profiles: [dev]}}"
    assert list(loaded(text).services) == ["web"]
    assert list(loaded(text, profiles=["dev"]).services) == ["web", "debug"]
    assert list(loaded(text, profiles=["*"]).services) == ["web", "debug"]


def test_a_dependency_that_is_not_required_may_be_missing(loaded: Load) -> None:
    loaded("services: {web: {image: x, depends_on: {db: {condition: service_started, required: false}}}}")


def test_a_later_file_goes_over_an_earlier_one(loaded: Load) -> None:
    base = """
services:
  web:
    image: web:1
    command: [a, b]
    environment: [A=1, B=1]
    ports: ["80:80"]
    volumes: ["data:/data", "/srv:/srv"]
    networks: [front]
    depends_on: [db]
    labels: {a: "1"}
  db: {image: db}
volumes: {data: }
networks: {front: , back: }
"""
    over = """
services:
  web:
    image: web:2
    command: [c]
    environment: {B: "2", C: "3"}
    ports: ["81:81"]
    volumes: ["/other:/data:ro"]
    networks: {back: {aliases: [w]}}
    labels: !reset {}
  db: {image: db, expose: !override ["1"]}
"""
    web = loaded(base, over).services["web"]
    assert (web["image"], web["command"]) == ("web:2", ["c"])
    assert web["environment"] == {"A": "1", "B": "2", "C": "3"}
    assert web["ports"] == ["80:80", "81:81"]
    assert web["volumes"] == ["/other:/data:ro", "/srv:/srv"]
    assert web["networks"] == {"front": None, "back": {"aliases": ["w"]}}
    assert "labels" not in web


@pytest.mark.parametrize(
    ("folder", "name"), [("My App.v2", "myappv2"), ("web", "web"), ("_x-y_", "x-y_"), ("Ünit", "nit")]
)
def test_a_folders_name_becomes_a_projects_name(folder: str, name: str) -> None:
    assert sanitized(folder) == name


def test_a_folder_without_a_usable_name() -> None:
    with pytest.raises(ComposeError, match="-p NAME"):
        sanitized("...")


def test_the_files_of_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ComposeError, match="no compose file in"):
        find_files(tmp_path)
    (tmp_path / "docker-compose.yml").touch()
    assert find_files(tmp_path) == [str(tmp_path / "docker-compose.yml")]
    (tmp_path / "compose.yaml").touch()
    (tmp_path / "compose.override.yaml").touch()
    assert find_files(tmp_path) == [str(tmp_path / "compose.yaml"), str(tmp_path / "compose.override.yaml")]


def test_the_names_order(loaded: Load) -> None:
    text = "name: infile\nservices: {web: {image: x}}"
    assert (loaded(text).name, loaded(text, name="given").name) == ("infile", "given")


# -- extends ----------------------------------------------------------------------------------------


def test_a_service_extends_one_of_its_file_and_goes_over_it(loaded: Load) -> None:
    text = """
services:
  base: {image: base, environment: {A: "1", B: "1"}, command: [x]}
  middle: {extends: base, environment: {B: "2"}}
  web: {extends: {service: middle}, image: web, command: [y]}
"""
    web = loaded(text).services["web"]
    assert web == {"image": "web", "environment": {"A": "1", "B": "2"}, "command": ["y"]}


def test_a_service_extends_one_of_another_file_whose_paths_begin_there(loaded: Load, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "common.yaml").write_text(
        "services: {base: {image: 'base:${TAG:-1}', volumes: ['./data:/data', 'named:/n'], env_file: a.env}}"
    )
    text = "services: {web: {extends: {file: sub/common.yaml, service: base}}}\nvolumes: {named: }"
    web = loaded(text).services["web"]
    assert web["image"] == "base:1"
    assert web["volumes"] == [f"{tmp_path}/sub/data:/data", "named:/n"]
    assert web["env_file"] == [f"{tmp_path}/sub/a.env"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("services: {a: {extends: b}, b: {extends: a}}", "leads back to itself"),
        ("services: {a: {extends: nope}}", "names the service 'nope'"),
        ("services: {a: {extends: {file: nope.yaml, service: b}}}", "nope.yaml does not exist"),
    ],
)
def test_what_cannot_be_extended(text: str, sentence: str, loaded: Load) -> None:
    with pytest.raises(ComposeError, match=sentence):
        loaded(text)
