"""Who leads, and what is said when nobody does."""

from dataclasses import replace

from swarm_manager.api.leadership import StoreLeadership
from swarm_manager.errors import JournalFullError, UnavailableError
from swarm_manager.ports import MemberStatus, RaftView

from tests.unit.manager.stores import MemoryStore, cluster


class Seen(MemoryStore):
    """A store that sees Raft as the test says."""

    def __init__(self, **fields: object) -> None:
        super().__init__()
        self._fields = fields

    @property
    def raft(self) -> RaftView:
        return replace(super().raft, **self._fields)  # type: ignore[arg-type]  # fields of it


def test_a_follower_knows_where_the_leader_s_api_is() -> None:
    m2 = MemberStatus("m2", "10.0.0.2:2378", voter=True, reachable=True)
    store = Seen(leader_id="m2", leads=False, members={"m2": m2})
    store.put(cluster())
    assert StoreLeadership(store).leader_address() == "10.0.0.2:2377"
    assert not StoreLeadership(store).leads()


def test_without_a_leader_it_says_how_many_are_reachable() -> None:
    voters = {f"m{n}": MemberStatus(f"m{n}", f"10.0.0.{n}:2378", voter=True, reachable=False) for n in (1, 2, 3)}
    why = StoreLeadership(Seen(leader_id="", leads=False, members=voters)).no_leader()
    assert isinstance(why, UnavailableError)
    assert "1 of 3 managers are reachable; a quorum is 2" in str(why)


def test_a_full_disk_comes_first() -> None:
    why = StoreLeadership(Seen(leads=False, journal_error="make room")).no_leader()
    assert isinstance(why, JournalFullError)


def test_a_manager_of_an_earlier_era_says_that_the_cluster_went_on_without_it() -> None:
    why = StoreLeadership(Seen(leader_id="", leads=False, superseded=True)).no_leader()
    assert "restored or recovered without it" in str(why)
    assert "swarm-cli rejoin" in str(why)
