"""What a power loss takes, and what it does not."""

import random

import pytest

from tests.nemesis.platter import File, Platter


@pytest.fixture(params=range(20))
def platter(request: pytest.FixtureRequest) -> Platter:
    return Platter(random.Random(request.param))


def content(platter: Platter, path: str) -> bytes:
    found = platter.find(path)
    assert isinstance(found, File)
    return bytes(found.data)


def test_what_was_synced_with_its_folder_survives(platter: Platter) -> None:
    platter.make_folder("/d", 0o700)
    file = platter.create("/d/f", 0o600)
    file.change((0, b"safe"))
    file.sync()
    platter.sync_folder(platter.folder("/d"))
    file.change((4, b"lost?"))
    platter.lose_power()
    assert content(platter, "/d/f")[:4] == b"safe"
    assert len(content(platter, "/d/f")) <= 9


def test_a_replacement_is_the_old_or_the_new_whole_file(platter: Platter) -> None:
    for name, data in (("/vote", b"old"), ("/vote.tmp", b"newer")):
        file = platter.create(name, 0o600)
        file.change((0, data))
        file.sync()
        if name == "/vote":
            platter.sync_folder(platter.root)
    platter.rename("/vote.tmp", "/vote")
    platter.lose_power()
    assert content(platter, "/vote") in (b"old", b"newer")


def outcomes(act: str) -> set[str]:
    """What is found after a power loss, over many seeds."""
    found: set[str] = set()
    for seed in range(60):
        platter = Platter(random.Random(seed))
        file = platter.create("/f", 0o600)
        file.change((0, b"data"))
        if act == "sync the file":
            file.sync()
        if act == "sync the folder":
            platter.sync_folder(platter.root)
        if act == "a failed sync":
            platter.sync_folder(platter.root)
            file.forget_unsynced()
            file.sync()
        platter.lose_power()
        found.add(content(platter, "/f").decode() if "f" in platter.root.names else "no file")
    return found


def test_half_a_precaution_is_not_enough() -> None:
    assert {"no file", "data"} <= outcomes("nothing")
    assert outcomes("sync the file") == {"no file", "data"}
    assert {"", "data"} <= outcomes("sync the folder")
    assert "no file" not in outcomes("sync the folder")


def test_a_second_sync_does_not_save_what_a_failed_one_dropped() -> None:
    assert outcomes("a failed sync") == {""}


def test_without_a_power_loss_nothing_is_forgotten(platter: Platter) -> None:
    platter.create("/f", 0o600).change((2, b"x"))
    platter.rename("/f", "/g")
    assert content(platter, "/g") == b"\0\0x"
    platter.remove("/g")
    with pytest.raises(FileNotFoundError):
        platter.find("/g")
