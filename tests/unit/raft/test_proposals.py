"""Proposals on their way into the log."""

from concurrent.futures import Future

from swarm_manager.raft.core import APPLY_SLICE_S

from tests.unit.raft.test_private_parts import leader, run_until, world

PROPOSALS = 20


def test_a_tick_appends_no_more_than_one_message_holds_and_the_rest_follows() -> None:
    lab = world()
    first = leader(lab)
    core = first.core
    assert core is not None
    limit_bytes = core.config.append_batch_bytes
    payloads = [b"%02d" % number + b"x" * (limit_bytes // 4) for number in range(PROPOSALS)]
    futures: list[Future[object]] = [core.proposals.submit(p, None, lab.clock.now + 5) for p in payloads]
    before = core.journal.bytes_added
    core.step()
    assert limit_bytes <= core.journal.bytes_added - before < 2 * limit_bytes
    assert core.proposals.queued
    run_until(lab, lambda: all(future.done() for future in futures))
    indexes = [future.result() for future in futures]
    assert indexes == sorted(indexes, key=lambda index: int(str(index)))


def test_a_tick_applies_no_more_than_its_time_allows() -> None:
    lab = world(members=1)
    first = leader(lab)
    core, machine = first.core, first.machine
    assert core is not None
    apply = machine.apply

    def slow(index: int, term: int, payload: bytes) -> object:
        lab.clock.now += 1.5 * APPLY_SLICE_S
        return apply(index, term, payload)

    machine.apply = slow  # type: ignore[method-assign]
    futures = [core.proposals.submit(b"%02d" % number, None, lab.clock.now + 5) for number in range(PROPOSALS)]
    while not all(future.done() for future in futures):
        before = core.applied_index
        core.step()
        assert core.applied_index <= before + 1
