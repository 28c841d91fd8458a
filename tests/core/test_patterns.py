"""Patterns of constraints and affinities, and what is refused because it could keep the leader busy."""

import fnmatch

import pytest
from hypothesis import given
from hypothesis import strategies as st
from swarm_api.affinities import affinity_from_text, affinity_text, parse_affinity
from swarm_api.constraints import parse_constraint
from swarm_api.objects_pb2 import Node, Task
from swarm_api.patterns import PatternError, parse_pattern


@given(st.text("ab*", max_size=12), st.text("ab", max_size=12))
def test_a_star_is_any_text(pattern: str, value: str) -> None:
    assert parse_pattern(pattern).matches(value) is fnmatch.fnmatchcase(value, pattern)


@pytest.mark.parametrize(
    ("pattern", "value", "found"),
    [
        ("web", "web1", False),
        ("web*", "web1", True),
        ("a*a", "a", False),
        ("/web/", "my-web-1", True),
        ("/^web/", "my-web-1", False),
        ("/(?i)WEB[12]$/", "web2", True),
        ("/", "/", True),
        ("web?", "web1", False),
    ],
)
def test_what_matches(pattern: str, value: str, found: bool) -> None:
    assert parse_pattern(pattern).matches(value) is found


@pytest.mark.parametrize(
    "pattern", ["/(a+)+$/", "/(a|b)*/", "/a*b*c*d*/", r"/(a)\1/", "/(?P<x>a)(?P=x)/", "/[/", "a" * 300]
)
def test_what_is_refused(pattern: str) -> None:
    with pytest.raises(PatternError):
        parse_pattern(pattern)


@given(st.text(max_size=30))
def test_any_text_is_a_pattern_or_refused_in_a_sentence(text: str) -> None:
    try:
        parse_pattern(f"/{text}/").matches("value")
    except PatternError as error:
        assert str(error).endswith(".")


def test_soft_constraints_are_known_as_such() -> None:
    node = Node()
    node.spec.annotations.labels["disk"] = "ssd2"
    soft = parse_constraint("node.labels.disk ==~ ssd*")
    assert (soft.soft, soft.matches(node)) == (True, True)
    assert not parse_constraint("node.labels.disk !=~ ssd*").matches(node)
    assert not parse_constraint("node.labels.disk == ssd*").soft


def redis() -> Task:
    task = Task(id="abc", service_id="def", slot=2)
    task.service_annotations.name = "cache"
    task.service_annotations.labels["tier"] = "back"
    task.spec.container.image = "reg:5000/team/redis:7@sha256:00"
    task.spec.container.labels["kind"] = "store"
    return task


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("service == cache", True),
        ("service == def", True),
        ("service == cach", False),
        ("service == c*", True),
        ("container == cache.2", True),
        ("container == cache.1", False),
        ("container == cache.2.abc", True),
        ("container == *ach*", True),
        ("image == reg:5000/team/redis", True),
        ("image == reg:5000/team/redis:7", True),
        ("image == redis", False),
        ("image == */redis", True),
        ("tier == back", True),
        ("label.kind == /^st/", True),
        ("colour == red", False),
    ],
)
def test_affinities(text: str, matches: bool) -> None:
    assert parse_affinity(affinity_from_text(text)).matches(redis()) is matches


@pytest.mark.parametrize("text", ["service == db", "image !=~ redis*", "tier == front", "container != /^web/"])
def test_an_affinity_is_written_as_it_was_read(text: str) -> None:
    assert affinity_text(affinity_from_text(text)) == text
