"""Our packets as dnspython reads them, and dnspython's as we do."""

from __future__ import annotations

import contextlib

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import pytest
from hypothesis import given
from hypothesis import strategies as st
from swarm_worker.net import packets

LABEL = st.from_regex(r"[a-zA-Z0-9_]([a-zA-Z0-9_-]{0,20}[a-zA-Z0-9_])?", fullmatch=True)
NAME = st.lists(LABEL, min_size=1, max_size=4).map(".".join)
ADDRESS = st.ip_addresses(v=4).map(str)


def query(name: str, kind: str = "A", edns_size: int | None = None) -> dns.message.Message:
    return dns.message.make_query(name, kind, use_edns=edns_size is not None, payload=edns_size or 0)


@given(NAME, st.sampled_from(["A", "AAAA", "PTR", "ANY", "MX"]), st.none() | st.integers(512, 65535))
def test_queries_are_read(name: str, kind: str, edns_size: int | None) -> None:
    asked = query(name, kind, edns_size)
    read = packets.parse(asked.to_wire())
    assert (read.id, read.name, read.qtype) == (asked.id, name.lower(), dns.rdatatype.from_text(kind))
    assert read.edns_size_bytes == (edns_size or 0)
    assert read.udp_size_bytes == max(512, min(edns_size or 0, 1232))


@given(NAME, st.lists(ADDRESS, max_size=20, unique=True), st.booleans())
def test_addresses_are_answered(name: str, found: list[str], edns: bool) -> None:
    asked = query(name, edns_size=1232 if edns else None)
    packet = packets.addresses(packets.parse(asked.to_wire()), found, 1, 1232)
    answer = dns.message.from_wire(packet)
    assert asked.is_response(answer)
    assert [record.address for rrset in answer.answer for record in rrset] == found
    assert (answer.edns >= 0) == edns
    assert answer.flags & dns.flags.RA
    assert answer.flags & dns.flags.AA
    assert not answer.flags & dns.flags.TC


def test_what_does_not_fit_is_left_out_and_said() -> None:
    found = [f"10.0.{number // 250}.{number % 250 + 1}" for number in range(300)]
    asked = query("tasks.web")
    for limit, fit in ((512, 30), (1232, 75), (65535, 300)):
        packet = packets.addresses(packets.parse(asked.to_wire()), found, 1, limit)
        assert len(packet) <= limit
        answer = dns.message.from_wire(packet, ignore_trailing=False)
        assert [record.address for rrset in answer.answer for record in rrset] == found[:fit]
        assert bool(answer.flags & dns.flags.TC) == (fit < 300)


def test_pointers_and_refusals() -> None:
    asked = query("11.1.128.10.in-addr.arpa", "PTR")
    read = packets.parse(asked.to_wire())
    answer = dns.message.from_wire(packets.pointer(read, "shop_web.1", 1))
    assert answer.answer[0][0].to_text() == "shop_web.1."
    for code in (packets.NXDOMAIN, packets.SERVFAIL, packets.REFUSED, packets.NOERROR):
        answer = dns.message.from_wire(packets.status(read, code))
        assert (answer.rcode(), answer.answer) == (code, [])
        assert asked.is_response(answer)


@given(st.binary(max_size=120))
def test_rubbish_is_called_so_and_nothing_worse(packet: bytes) -> None:
    with contextlib.suppress(packets.MalformedPacketError):
        packets.parse(packet)


@given(NAME, st.data())
def test_cut_and_bent_queries_too(name: str, data: st.DataObject) -> None:
    packet = bytearray(query(name, edns_size=1232).to_wire())
    for _ in range(data.draw(st.integers(0, 4))):
        packet[data.draw(st.integers(0, len(packet) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(packets.MalformedPacketError):
        read = packets.parse(bytes(packet[: data.draw(st.integers(0, len(packet)))]))
        assert packets.status(read, packets.REFUSED)


def test_answers_are_no_queries() -> None:
    response = dns.message.make_response(query("web"))
    with pytest.raises(packets.MalformedPacketError):
        packets.parse(response.to_wire())
