"""Wire frames: what is encoded comes back; anything else is a WireError, never another exception or type."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from swarm_manager.raft import codec
from swarm_manager.raft.config import Member, Membership
from swarm_manager.raft.errors import WireError

U64 = st.integers(0, 2**63 - 1)
MEMBERS = st.lists(
    st.builds(
        Member,
        st.text("abc123", min_size=1, max_size=25),
        st.sampled_from(["10.0.0.1:2378", "[::1]:1"]),
        st.booleans(),
    ),
    max_size=5,
    unique_by=lambda member: member.node_id,
).map(tuple)


@st.composite
def entries(draw: st.DrawFn) -> list[codec.Entry]:
    first, term = draw(st.integers(1, 2**40)), draw(st.integers(0, 2**40))
    regular = st.binary(max_size=20).map(codec.regular_command)
    membership = MEMBERS.map(Membership.of).map(codec.membership_command)
    commands = draw(st.lists(regular | membership, max_size=5))
    return [(command, first + place, term + place // 2) for place, command in enumerate(commands)]


KINDS = {
    "u": U64,
    "o": st.none() | U64,
    "?": st.booleans(),
    "s": st.text(st.characters(max_codepoint=127), max_size=255),
    "y": st.binary(max_size=100),
    "E": entries(),
    "M": MEMBERS,
}


@st.composite
def messages(draw: st.DrawFn) -> codec.Message:
    name = draw(st.sampled_from(sorted(codec.MESSAGES)))
    return {"type": name, **{field: draw(KINDS[kind]) for field, kind in codec.MESSAGES[name][1]}}


@given(messages())
def test_a_message_comes_back(message: codec.Message) -> None:
    assert codec.decode(codec.encode(message)) == message


@settings(max_examples=400)
@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_a_message_or_a_wire_error(frame: bytes) -> None:
    try:
        message = codec.decode(frame)
    except WireError:
        return
    assert codec.encode(message) == frame, "there is one encoding of each message"


@given(messages(), st.data())
def test_a_damaged_frame_is_a_message_or_a_wire_error(message: codec.Message, data: st.DataObject) -> None:
    frame = bytearray(codec.encode(message))
    frame[data.draw(st.integers(0, len(frame) - 1))] ^= data.draw(st.integers(1, 255))
    for damaged in (bytes(frame), bytes(frame[:-1]), bytes(frame) + b"\0"):
        try:
            again = codec.decode(damaged)
        except WireError:
            continue
        assert set(again) == {"type", *(field for field, _ in codec.MESSAGES[again["type"]][1])}


@given(messages())
def test_every_truncation_is_refused(message: codec.Message) -> None:
    frame = codec.encode(message)
    for length in range(len(frame)):
        with pytest.raises(WireError):
            codec.decode(frame[:length])


def test_entries_out_of_order_are_refused() -> None:
    base = {"type": "append_entries", "term": 1, "commit_index": 0, "seq": 0, "prevLogIdx": 1, "prevLogTerm": 1}
    for bad in ([(b"a", 2, 1), (b"b", 4, 1)], [(b"a", 2, 2), (b"b", 3, 1)], [(b"", 2, 1)]):
        with pytest.raises(WireError):
            codec.decode(codec.encode({**base, "entries": bad}))


def test_members_named_twice_or_unreachable_are_refused() -> None:
    for bad in (
        (Member("a", "1.2.3.4:1"), Member("a", "1.2.3.4:2")),
        (Member("a", "no address"),),
        (Member("", "1.2.3.4:1"),),
    ):
        with pytest.raises(WireError):
            codec.decode(codec.encode({"type": "hello", "address": "", "era": None, "index": 0, "members": bad}))


@given(MEMBERS, U64)
def test_memberships_come_back_from_log_and_file(members: tuple[Member, ...], index: int) -> None:
    membership = Membership.of(members, index)
    assert codec.read_membership(codec.membership_command(membership), index) == membership
    assert codec.decode_membership(codec.encode_membership(membership)) == membership
    assert codec.read_membership(codec.regular_command(b"x"), 1) is None
