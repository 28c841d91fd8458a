"""`swarm-cli info`: the cluster at a glance, also when it has no quorum; on a worker, the worker itself."""

import click
from swarm_api.control_pb2 import GetInfoResponse, ManagerInfo
from swarm_api.eras import election_of, era_of
from swarm_api.errors import AccessError
from swarm_api.node_pb2 import StatusRequest, StatusResponse
from swarm_api.objects_pb2 import Reachability
from swarm_api.types_pb2 import NodeRole

from swarm_cli.daemon import Daemon, local_node_id, run_dir, state_dir
from swarm_cli.options import format_option
from swarm_cli.render.document import print_document
from swarm_cli.render.text import Cell, Column, Table, print_table
from swarm_cli.render.times import ago, minute
from swarm_cli.session import current

_STATUS_S = 5.0


@click.command()
@format_option
def info() -> None:
    """Show the cluster: its managers, its leader, and what runs.

    One manager's own view is enough, so this works without a quorum, and says so. On a worker, whom managers
    tell nothing of the cluster, it shows how that node stands.
    """
    session = current()
    try:
        client = session.client
    except AccessError:
        if not _show_own_node():
            raise
        return
    answer = client.info(stale=True)
    if session.format != "table":
        print_document(answer, session.format)
        return
    facts = Table([Column(""), Column("", may_wrap=True)], has_header=False)
    for name, value in _facts(answer):
        facts.add(Cell(name, "bold"), value)
    print_table(facts)
    if answer.managers:
        click.echo()
        print_table(_managers(answer))
    for warning in (*answer.warnings, *_own_trouble(answer)):
        click.secho(f"\n{warning}", fg="yellow")


def _own_trouble(answer: GetInfoResponse) -> tuple[str, ...]:
    """Why the node that this command runs on has no session with a leader, when it is the one that answered."""
    session = current()
    daemon = Daemon(state_dir(session), run_dir(session))
    if local_node_id(session) != answer.node_id or not daemon.answers():
        return ()
    status = daemon.call(lambda stub: stub.Status, StatusRequest(), _STATUS_S)
    return () if status.connected or not status.last_error else (f"This node: {status.last_error}",)


def _show_own_node() -> bool:
    """Show what the node's daemon says of itself; False when none runs, or this machine is no node."""
    session = current()
    daemon = Daemon(state_dir(session), run_dir(session))
    if not daemon.answers():
        return False
    status = daemon.call(lambda stub: stub.Status, StatusRequest(), _STATUS_S)
    if not status.node_id:
        return False
    if session.format != "table":
        print_document(status, session.format)
        return True
    facts = Table([Column(""), Column("", may_wrap=True)], has_header=False)
    for name, value in _own_facts(status):
        facts.add(Cell(name, "bold"), value)
    print_table(facts)
    return True


def _own_facts(status: StatusResponse) -> list[tuple[str, str | Cell]]:
    connected = Cell(f"yes, to {status.leader_address}", "green")
    facts: list[tuple[str, str | Cell]] = [
        ("Node", f"{status.node_id} ({NodeRole.Name(status.role).lower()})"),
        ("Cluster", status.cluster_id),
        ("Connected", connected if status.connected else Cell(f"no: {status.last_error or 'not yet'}", "red")),
        ("Managers", ", ".join(status.managers)),
        ("Tasks", str(status.tasks)),
        ("Certificate", f"valid until {minute(status.certificate_ends)}"),
    ]
    if status.manager_state:
        facts.append(("Manager", status.manager_state))
    if status.engine_error:
        facts.append(("Engine", Cell(status.engine_error, "red")))
    return facts


def _facts(answer: GetInfoResponse) -> list[tuple[str, str | Cell]]:
    facts: list[tuple[str, str | Cell]] = [
        ("Cluster", f"{answer.cluster_name or 'default'} ({answer.cluster_id})"),
        ("Answered by", answer.node_id),
        ("Leader", answer.leader_id or Cell("none known: no quorum, or an election", "red")),
        ("Quorum", _quorum(answer)),
        ("Nodes", f"{answer.nodes_ready} ready of {answer.nodes}"),
        ("Services", str(answer.services)),
        ("Tasks", f"{answer.tasks_running} running of {answer.tasks}"),
        ("Raft", f"{_term(answer.term)}, committed {answer.commit_index}, applied {answer.applied_index}"),
        ("Version", answer.version),
    ]
    if answer.journal_error:
        facts.append(("Journal", Cell(answer.journal_error, "red")))
    return facts


def _term(term: int) -> str:
    era = f" of era {era_of(term)}" if era_of(term) else ""
    return f"term {election_of(term)}{era}"


def _quorum(answer: GetInfoResponse) -> Cell:
    voters = [one for one in answer.managers if one.voter]
    reachable = sum(one.leader or one.reachability == Reachability.REACHABLE for one in voters)
    spare = reachable - (len(voters) // 2 + 1)
    text = f"{reachable} of {len(voters)} managers reachable"
    if not voters:
        return Cell("unknown")
    if spare < 0:
        return Cell(f"{text}: lost, nothing can be changed", "red")
    return Cell(f"{text}, {spare} more may fail", "green" if spare else "yellow")


def _managers(answer: GetInfoResponse) -> Table:
    table = Table([Column(title) for title in ("MANAGER", "ADDRESS", "STATUS", "VOTES")])
    for one in answer.managers:
        mark = " *" if one.node_id == answer.node_id else ""
        table.add(f"{one.node_id[:12]}{mark}", one.address, _status(one), "yes" if one.voter else "no")
    return table


def _status(one: ManagerInfo) -> Cell:
    if one.leader:
        return Cell("Leader", "green")
    text = Reachability.Name(one.reachability).removeprefix("REACHABILITY_").capitalize()
    if one.HasField("unreachable_since"):
        text += f", since {ago(one.unreachable_since)}"
    return Cell(text, "red" if one.reachability == Reachability.UNREACHABLE else "")
