"""Public projects' compose files: never a traceback, and Docker's own verdict on each.

The files are read from a folder beside the checkout; where it is missing, the examples of this project and some
hard cases stand in for them.
"""

import csv
from pathlib import Path

import pytest
from swarm_cli.compose.convert import convert
from swarm_cli.compose.load import load
from swarm_cli.errors import ComposeError

ROOT = Path(__file__).parents[3]
CORPUS = ROOT.parent / "shared" / "compose-corpus"
EXAMPLES = sorted(
    path for pattern in ("*compose*.yaml", "*compose*.yml") for path in (ROOT / "examples").rglob(pattern)
)
HARD = (
    "services: {web: {image: x, command: [[[]]]}}",
    "services: {web: {image: x, ports: [{}]}}",
    "services: {web: {image: x, deploy: []}}",
    "services: {web: {image: x, volumes: [{type: volume}]}}",
    "services: {web: {image: x, healthcheck: {test: []}}}",
    "services: {web: {image: x, ulimits: {a: {soft: 1}}}}",
    "services: {web: {image: x, environment: ['=x']}}",
    "services: {web: {image: x, networks: {default: 5}}}",
    "services: {web: {image: '${A:-${B:?x}}'}}",
    "services: {web: {image: x, ports: [1.5, true, null]}}",
    "services: {web: {image: x}}\nnetworks: {default: {external: {name: y}}}",
    "services: {web: {image: x}}\nx: &x [*x]",
    "services: null",
    "services: {}",
    "name: 5\nservices: {web: {image: x}}",
)
#: The share of the files on which this reader and Docker's say the same: what it reached must not get lost.
AGREEMENT = 0.98


def verdict(path: Path) -> str:
    """`accepts` or `refuses`; whatever else is raised fails the test."""
    try:
        project = load([str(path)], name="corpus", environ={})
    except ComposeError as error:
        assert "\n" not in str(error), f"{path}: more than one line: {error}"
        return "refuses"
    try:
        convert(project, "corpus")
    except ComposeError as error:
        assert "\n" not in str(error), f"{path}: more than one line: {error}"
    return "accepts"


@pytest.mark.skipif(not CORPUS.is_dir(), reason="the corpus is not beside this checkout; the hard cases below are")
def test_the_corpus_is_judged_as_docker_judges_it() -> None:
    with (CORPUS / "SOURCES.tsv").open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    differing = []
    for row in rows:
        path = CORPUS / row["repository"].replace("/", "__") / row["path"]
        docker = row["compose 5.6.1 config"]
        if verdict(path) != docker:
            differing.append(f"{row['path']}: Docker {docker}")
    assert len(rows) > 300
    assert 1 - len(differing) / len(rows) >= AGREEMENT, "\n".join(differing)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: str(path.relative_to(ROOT)))
def test_our_own_examples_are_accepted(path: Path) -> None:
    assert verdict(path) == "accepts"


@pytest.mark.parametrize("text", HARD)
def test_hard_cases_end_in_a_sentence_or_not_at_all(text: str, tmp_path: Path) -> None:
    path = tmp_path / "compose.yaml"
    path.write_text(text)
    verdict(path)
