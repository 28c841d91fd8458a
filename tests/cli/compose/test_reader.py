"""YAML as compose files use it."""

from pathlib import Path

import pytest
from swarm_cli.compose import reader
from swarm_cli.compose.reader import parse, read_file, resolve_plain
from swarm_cli.errors import ComposeError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", "yes"),
        ("on", "on"),
        ("true", True),
        ("False", False),
        ("", None),
        ("~", None),
        ("22:22", "22:22"),
        ("0755", 493),
        ("0o755", 493),
        ("0999", "0999"),
        ("0x1f", 31),
        ("1_000", 1000),
        ("-5", -5),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        ("1.2.3", "1.2.3"),
        ("2024-01-01", "2024-01-01"),
        (".inf", float("inf")),
    ],
)
def test_plain_scalars_are_what_composes_own_reader_makes_of_them(text: str, value: object) -> None:
    assert resolve_plain(text) == value
    assert type(resolve_plain(text)) is type(value)


def test_quoted_and_tagged_scalars_stay_strings() -> None:
    assert parse("a: '1'\nb: !!str 1\nc: \"true\"\n", "f").data == {"a": "1", "b": "1", "c": "true"}


def test_merge_keys_and_anchors() -> None:
    text = "x: &a {b: 1, c: 2}\ny: &d {c: 3}\nz:\n  <<: [*a, *d]\n  b: 9\n"
    assert parse(text, "f").data["z"] == {"c": 2, "b": 9}


def test_lines_are_known() -> None:
    document = parse("services:\n  web:\n    ports:\n    - a\n    - b\n", "compose.yaml")
    assert document.where(("services", "web", "ports", 1)) == "compose.yaml:5"
    assert document.where(("services", "web", "image")) == "compose.yaml:2"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a: b: c", "f:1:5: not valid YAML: mapping values are not allowed"),
        ("a: [1", "not valid YAML"),
        ("a: 1\na: 2", "f:2:1: the key 'a' comes twice"),
        ("1: a", "f:1:1: the key 1 must be a string"),
        ("? [a]\n: b", "a key must be a string"),
        ("a: &a [*a]", "an alias contains itself"),
        ("a: *b", "undefined alias"),
        ("<<: 3", "'<<' takes a mapping"),
        ("a: b\n---\nc: d", "single document"),
        ("a: \x00", "f is not YAML"),
        ("\t- a", "not valid YAML"),
        ("[" * 3000, "nested too deeply|not valid YAML"),
    ],
)
def test_what_is_no_yaml_is_told_with_its_place(text: str, sentence: str) -> None:
    with pytest.raises(ComposeError, match=sentence):
        parse(text, "f")


def test_aliases_of_aliases_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "MAX_PARTS", 10_000)
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    with pytest.raises(ComposeError, match="unfold to more than"):
        parse("\n".join(lines), "f")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ComposeError, match="does not exist"):
        read_file(str(tmp_path / "no.yaml"))
    with pytest.raises(ComposeError, match="Is a directory"):
        read_file(str(tmp_path))
    (tmp_path / "binary").write_bytes(b"\x7fELF\xff\xfe")
    with pytest.raises(ComposeError, match="is not UTF-8 text"):
        read_file(str(tmp_path / "binary"))
