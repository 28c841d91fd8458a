"""Images made from Debian's packages run in a real engine, and a Dockerfile is built rightly or refused."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.testbed.cluster import Testbed
from tests.testbed.errors import TestbedError
from tests.testbed.images import build, recipe
from tests.testbed.images.catalogue import ALL_IMAGES, TEST_IMAGES
from tests.testbed.images.recipe import RecipeError
from tests.testbed.layout import CHECKOUT
from tests.testbed.process import wait_until


@pytest.fixture(scope="module")
def testbed() -> Iterator[Testbed]:
    with Testbed(f"im{os.getpid()}") as bed:
        bed.up(2, images=TEST_IMAGES)
        yield bed


def test_every_host_has_them_and_each_runs(testbed: Testbed) -> None:
    for host in testbed.hosts:
        assert host.engine.images() == set(TEST_IMAGES)
    n2 = testbed.host("n2")
    for name, command, said in (
        ("busybox:local", ["id", "-un"], "root"),
        ("rnn-front:1", ["nginx", "-t"], ""),
        ("rnn-worker:1", ["node", "-p", "6 * 7"], "42"),
        ("rnn-redis:1", ["redis-server", "--version"], "Redis server"),
    ):
        assert said in n2.run(["docker", "run", "--rm", name, *command]).stdout


def test_a_host_that_lacks_an_image_is_given_it(testbed: Testbed) -> None:
    n1 = testbed.host("n1")
    n1.run(["docker", "rmi", "busybox:local"])
    testbed.up(2, images=TEST_IMAGES)
    assert n1.engine.images() == set(TEST_IMAGES)


def test_the_example_counts_its_visits(testbed: Testbed) -> None:
    """All three images together, on one engine, without the orchestrator: what fails here is not its fault."""
    n1 = testbed.host("n1")
    n1.run(["docker", "network", "create", "rnn"])
    for name, image, options in (
        ("front", "rnn-front:1", ["-p", "8080:80"]),
        ("worker", "rnn-worker:1", []),
        ("redis", "rnn-redis:1", []),
    ):
        n1.run(["docker", "run", "-d", "--name", name, "--network", "rnn", *options, image])
    ask = ["curl", "-s", "-m", "5", "http://127.0.0.1:8080/"]
    wait_until(lambda: '"visits"' in n1.run(ask, check=False).stdout, "the first counted visit", timeout_s=30)
    first, second = (n1.run(ask).stdout for _ in range(2))
    assert '"visits":2,' in first
    assert '"visits":3,' in second
    n1.engine.remove_all_containers()


def test_building_again_gives_the_same_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    once = build(["busybox:local"])
    monkeypatch.setenv("RAFTSWARM_CACHE", str(tmp_path))
    assert build(["busybox:local"]) == once


def test_an_image_without_a_recipe() -> None:
    with pytest.raises(TestbedError, match="no recipe for debian:12"):
        build(["debian:12"])


@pytest.mark.parametrize("name", ALL_IMAGES)
def test_no_image_lacks_a_command(name: str) -> None:
    (image,) = build([name])
    assert '"Cmd": [' in image.config


def written(folder: Path, text: str) -> recipe.Recipe:
    (folder / "Dockerfile").write_text(text)
    return recipe.from_dockerfile("x:1", folder / "Dockerfile")


def test_a_dockerfile_is_read(tmp_path: Path) -> None:
    shutil.copy(CHECKOUT / "pyproject.toml", tmp_path / "a.conf")
    read = written(
        tmp_path,
        "FROM debian:bookworm-slim\n"
        "RUN apt-get update \\\n"
        "  # a comment in between\n"
        " && apt-get install -y --no-install-recommends g++ nginx\n"
        "COPY a.conf /etc/\n"
        "ENV A=1 B='two words'\n"
        "EXPOSE 80 53/udp\n"
        'USER nobody\nCMD ["nginx", "-g", "daemon off;"]\n',
    )
    assert read.packages == ["g++", "nginx"]
    assert list(read.files) == ["etc/a.conf"]
    assert read.config["Env"][1:] == ["A=1", "B=two words"]
    assert read.config["ExposedPorts"] == {"80/tcp": {}, "53/udp": {}}
    assert read.config["User"] == "nobody"
    assert read.config["Cmd"] == ["nginx", "-g", "daemon off;"]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("FROM alpine", "not alpine"),
        ("RUN make install", "RUN can only be"),
        ("ADD x /", "ADD is not known"),
        ("COPY nothing /", "is not a file"),
        ("COPY a b /c", "COPY takes one file"),
        ("CMD [broken", "line 2"),
    ],
)
def test_what_cannot_be_built_is_refused_by_line(tmp_path: Path, line: str, told: str) -> None:
    with pytest.raises(RecipeError, match=told) as caught:
        written(tmp_path, f"# first\n{line}\n")
    assert "Dockerfile, line 2" in str(caught.value)
