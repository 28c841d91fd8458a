"""Variables: in the file, in .env, in env files."""

from pathlib import Path

import pytest
from swarm_cli.compose.interpolate import Template
from swarm_cli.compose.load import load
from swarm_cli.compose.variables import parse_env, read_env_file
from swarm_cli.errors import ComposeError

KNOWN = {"SET": "value", "EMPTY": "", "NUMBER": "3"}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("$SET/x", "value/x"),
        ("${SET}x", "valuex"),
        ("$$SET", "$SET"),
        ("$${SET}", "${SET}"),
        ("${UNSET}", ""),
        ("${UNSET:-default}", "default"),
        ("${EMPTY:-default}", "default"),
        ("${EMPTY-default}", ""),
        ("${UNSET-default}", "default"),
        ("${UNSET:-${SET}}", "value"),
        ("${UNSET:-${ALSO_UNSET:-deep}}", "deep"),
        ("${UNSET:-a}b}", "ab}"),
        ("${SET:+other}", "other"),
        ("${EMPTY:+other}", ""),
        ("${EMPTY+other}", "other"),
        ("${UNSET+other}", ""),
        ("${SET:?must be set}", "value"),
        ("${EMPTY?must be set}", ""),
        ("${UNSET:-}", ""),
        ("${UNSET:-a:b-c}", "a:b-c"),
        ("[ $? -eq 22 ]", "[ $? -eq 22 ]"),
        ("awk '{print $1}'", "awk '{print $1}'"),
        ("100$", "100$"),
    ],
)
def test_templates(template: str, text: str) -> None:
    assert Template(template).substitute(KNOWN.get, lambda _: None) == text


@pytest.mark.parametrize(
    ("template", "sentence"),
    [
        ("${UNSET:?give a name}", "the variable UNSET is required: give a name"),
        ("${EMPTY:?}", "the variable EMPTY is required; set it"),
        ("${UNSET", "no closing brace"),
        ("${}", "names no variable"),
        ("${1A}", "names no variable"),
        ("${SET!x}", "is no variable"),
    ],
)
def test_bad_templates(template: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence.replace("$", r"\$")):
        Template(template).substitute(KNOWN.get, lambda _: None)


def test_unset_variables_are_told() -> None:
    unset: list[str] = []
    Template("$A ${B:-x} ${C}").substitute(KNOWN.get, unset.append)
    assert unset == ["A", "C"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("A=1\nB=two words\n", {"A": "1", "B": "two words"}),
        ("# comment\n\nexport A=1 # why\n", {"A": "1"}),
        ("A=a#b", {"A": "a#b"}),
        ("A='$B \\n'", {"A": "$B \\n"}),
        ('A="x\\ny"', {"A": "x\ny"}),
        ('A="first\nsecond"\nB=2', {"A": "first\nsecond", "B": "2"}),
        ("A=1\nB=${A}2", {"A": "1", "B": "12"}),
        ("A=${SET}", {"A": "value"}),
        ('A="\\$SET"', {"A": "$SET"}),
        ("A=", {"A": ""}),
        ("SET", {"SET": "value"}),
        ("NOTHING", {"NOTHING": None}),
        ("A: yaml", {"A": "yaml"}),
        ("A=1\r\nB=2\r\n", {"A": "1", "B": "2"}),
    ],
)
def test_env_files(text: str, found: dict[str, str | None]) -> None:
    assert parse_env(text, "f", KNOWN.get) == found


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("A=1\n=2", "f:2: a line must be NAME=value"),
        ("A='x", "f:1: the quote ' is never closed"),
        ("A='x' y", "text after the closing quote"),
        ("A B", "a line must be"),
        ("A=${", "no closing brace"),
    ],
)
def test_bad_env_files(text: str, sentence: str) -> None:
    with pytest.raises(ComposeError, match=sentence):
        parse_env(text, "f", KNOWN.get)


def test_raw_env_files_are_taken_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "raw").write_text("# c\nA='$x' # y\nB\n")
    assert read_env_file(tmp_path / "raw", KNOWN.get, is_raw=True) == {"A": "'$x' # y", "B": None}


def test_the_shell_wins_over_dotenv_and_a_given_file_replaces_it(tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_text("services: {web: {image: 'x:${A}-${B}-${C:-none}'}}")
    (tmp_path / ".env").write_text("A=dotenv\nB=dotenv\n")
    (tmp_path / "other").write_text("A=other\nB=other\n")
    path = str(tmp_path / "compose.yaml")
    assert load([path], environ={"A": "shell"}).services["web"]["image"] == "x:shell-dotenv-none"
    other = load([path], env_files=[str(tmp_path / "other")], environ={})
    assert other.services["web"]["image"] == "x:other-other-none"
    assert load([path], environ={"B": "1"}).warnings == []


def test_a_variable_becomes_the_type_its_place_wants(tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_text(
        "services:\n  web:\n    image: x\n    tty: ${T}\n    environment: {N: '${N}'}\n"
        "    deploy: {replicas: '${N}', update_config: {max_failure_ratio: '${R}'}}\n"
        "    healthcheck: {test: x, retries: '${N}'}\n"
    )
    service = load([str(tmp_path / "compose.yaml")], environ={"T": "true", "N": "3", "R": "0.5"}).services["web"]
    assert (service["tty"], service["environment"]["N"]) == (True, "3")
    assert (service["deploy"]["replicas"], service["healthcheck"]["retries"]) == (3, 3)
    assert service["deploy"]["update_config"]["max_failure_ratio"] == 0.5


def test_an_unset_variable_is_a_warning_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_text("services: {web: {image: 'x:${TAG}'}}")
    assert load([str(tmp_path / "compose.yaml")], environ={}).warnings == [
        "The variable TAG is not set: it stands for nothing."
    ]
