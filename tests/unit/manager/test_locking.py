"""Autolock in a manager: the unlock key as text, and key files that follow the cluster's settings."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs
from swarm_api.objects_pb2 import Cluster
from swarm_manager.errors import BadRequestError
from swarm_manager.locking import KeyKeeper
from swarm_manager.raft.keys import KeyFile
from swarm_manager.raft.sealed_disk import SealedDisk, open_disk
from swarm_manager.unlock_key import new_unlock_key, unlock_key_bytes

from tests.sim.fake_disk import FakeDisk, Platter


@given(st.randoms(use_true_random=False))
def test_an_unlock_key_survives_being_copied_by_people(rng: random.Random) -> None:
    key = new_unlock_key()
    raw = unlock_key_bytes(key)
    assert len(raw) == 32 and unlock_key_bytes(f"\n  {key.upper()} ") == raw
    place = rng.randrange(len(key))
    for damaged in (key[:place] + key[place + 1 :], key[:place] + "-" + key[place:], "", "SWMKEY-1-" + "z" * 50):
        with pytest.raises(BadRequestError, match="copy it again"):
            unlock_key_bytes(damaged)


def test_no_two_unlock_keys_are_the_same() -> None:
    assert len({new_unlock_key() for _ in range(100)}) == 100


class Keeping:
    """A manager's key file, and the state it has."""

    def __init__(self) -> None:
        self.keys = Platter(random.Random(1))
        self.disk: SealedDisk = open_disk(FakeDisk(Platter(random.Random(2)), "data"), self.file())
        self.cluster: Cluster | None = None
        self.keeper = KeyKeeper(self.disk, lambda: self.cluster)

    def file(self) -> KeyFile:
        return KeyFile(FakeDisk(self.keys, "keys"))

    async def follow(self, unlock_key: str, version: int) -> None:
        self.cluster = Cluster(id="c1", unlock_key=unlock_key)
        self.cluster.meta.version.index = version
        await self.keeper.look()

    def opens_with(self, unlock_key: str) -> bool:
        wanted = unlock_key_bytes(unlock_key) if unlock_key else None
        return self.file().is_locked == bool(unlock_key) and bool(self.file().open(wanted).by_id)


async def test_the_keys_are_wrapped_as_the_settings_say() -> None:
    keeping, first, second = Keeping(), new_unlock_key(), new_unlock_key()
    await keeping.keeper.look()
    assert keeping.opens_with(""), "without a state nothing is known"
    for version, key in enumerate((first, second, "", first), 1):
        await keeping.follow(key, version)
        assert keeping.opens_with(key)


async def test_a_state_from_before_undoes_nothing() -> None:
    """After a restart the state is an old one until the leader has told more."""
    keeping, first, second = Keeping(), new_unlock_key(), new_unlock_key()
    await keeping.follow(first, 5)
    await keeping.follow(second, 9)
    for stale in ("", first):
        await keeping.follow(stale, 8)
        assert keeping.opens_with(second)
    writes = keeping.keys.syncs, bytes(keeping.keys.files["keys"].content)
    await keeping.follow(second, 12)
    assert writes == (keeping.keys.syncs, bytes(keeping.keys.files["keys"].content)), "another setting has changed"


async def test_what_a_full_disk_refuses_is_said_once_and_done_later() -> None:
    keeping, key = Keeping(), new_unlock_key()
    keeping.keys.full = True
    with capture_logs() as said:
        await keeping.follow(key, 1)
        await keeping.keeper.look()
    assert [entry["why"] for entry in said] == ["[Errno 28] No space left on device"]
    assert keeping.opens_with("")
    keeping.keys.full = False
    await keeping.keeper.look()
    assert keeping.opens_with(key)


async def test_keys_that_seal_nothing_any_more_are_forgotten() -> None:
    keeping = Keeping()
    keeping.disk.replace("vote", [b"with the first key"])
    await keeping.follow(new_unlock_key(), 1)
    assert len(keeping.disk.ring.by_id) == 2
    keeping.disk.replace("vote", [b"with the second"])
    await keeping.keeper.look()
    assert len(keeping.disk.ring.by_id) == 1
    assert keeping.disk.read("vote") == b"with the second"
