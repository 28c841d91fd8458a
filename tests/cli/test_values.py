"""What flags and compose files say about sizes, durations, ports and mounts; and what people read."""

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import ParseDict
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st
from swarm_api.objects_pb2 import Service
from swarm_api.types_pb2 import Share
from swarm_cli.mounts import parse_mount
from swarm_cli.ports import parse_publish
from swarm_cli.quantities import parse_duration_ns, parse_mode, parse_nano_cpus, parse_share, parse_size
from swarm_cli.render.document import to_data
from swarm_cli.render.text import Cell, Column, Table, fitting, plain_lines
from swarm_cli.render.times import ago, short_duration, size, span


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [("0", 0), ("5", 5), ("1k", 1024), ("1.5M", 1572864), ("2GB", 2**31), ("1GiB", 2**30), (" 7b ", 7), (512, 512)],
)
def test_sizes(text: str, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize("text", ["", "-1", "1x", "1.2.3", "k", "1e9", "9999999p"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match=r"no size|more memory"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "length_ns"),
    [
        ("0", 0),
        ("5", 5 * 10**9),
        ("1m30s", 90 * 10**9),
        ("1.5s", 15 * 10**8),
        ("20ms", 2 * 10**7),
        ("1h", 3600 * 10**9),
    ],
)
def test_durations(text: str, length_ns: int) -> None:
    assert parse_duration_ns(text) == length_ns


@pytest.mark.parametrize("text", ["", "soon", "1 s", "s", "-5s", "1x", "9" * 30 + "h"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration_ns(text)


@pytest.mark.parametrize(("text", "nano"), [("0.5", 5 * 10**8), (2, 2 * 10**9), ("0.000000001", 1)])
def test_cpus(text: str, nano: int) -> None:
    assert parse_nano_cpus(text) == nano


@pytest.mark.parametrize("text", ["-1", "x", "nan", "inf", "0.0000000001", ""])
def test_what_are_no_cpus(text: str) -> None:
    with pytest.raises(ValueError, match="CPU"):
        parse_nano_cpus(text)


def test_modes() -> None:
    assert [parse_mode(text) for text in ("0440", "440", "0o440", 0o440)] == [0o440] * 4
    with pytest.raises(ValueError, match="octal"):
        parse_mode("rw")


@given(st.text(max_size=20))
def test_any_text_is_a_value_or_a_sentence(text: str) -> None:
    for parse in (parse_size, parse_duration_ns, parse_nano_cpus, parse_mode, parse_publish, parse_mount):
        try:
            parse(text)
        except ValueError as error:
            assert str(error)


@pytest.mark.parametrize(
    ("text", "ports"),
    [
        ("80", [(0, 80, 0, 0)]),
        ("8080:80", [(8080, 80, 0, 0)]),
        ("53:53/udp", [(53, 53, 1, 0)]),
        ("8000-8001:80-81", [(8000, 80, 0, 0), (8001, 81, 0, 0)]),
        ("published=8080,target=80,mode=host,protocol=sctp", [(8080, 80, 2, 1)]),
        ("target=80", [(0, 80, 0, 0)]),
    ],
)
def test_ports(text: str, ports: list[tuple[int, int, int, int]]) -> None:
    found = [(p.published_port, p.target_port, p.protocol, p.publish_mode) for p in parse_publish(text)]
    assert found == ports


@pytest.mark.parametrize(
    "text",
    ["", "0:80", "80:0", "65536", "90-80", "80-81:80-82", "80/icmp", "target=80,mode=x", "published=80", "a:b:c"],
)
def test_what_is_no_port(text: str) -> None:
    with pytest.raises(ValueError, match=r"port|ranges|protocol|mode|lacks|IP address"):
        parse_publish(text)


def test_mounts() -> None:
    mount = parse_mount("type=volume,source=data,target=/d,readonly,volume-opt=o=addr=1,volume-label=a=b,volume-nocopy")
    assert (mount.source, mount.target, mount.read_only, mount.volume_no_copy) == ("data", "/d", True, True)
    assert (dict(mount.volume_driver_opts), dict(mount.volume_labels)) == ({"o": "addr=1"}, {"a": "b"})
    assert parse_mount("type=tmpfs,dst=/t,tmpfs-size=1m").tmpfs_size_bytes == 2**20


@pytest.mark.parametrize(
    "text",
    [
        "type=x,target=/a",
        "target=a",
        "type=tmpfs,source=x,target=/a",
        "type=bind,source=/a,target=/b,bind-propagation=x",
    ],
)
def test_what_is_no_mount(text: str) -> None:
    with pytest.raises(ValueError, match=r"mount|propagation"):
        parse_mount(text)


# -- what people read -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("length_s", "text"),
    [
        (0, "0 seconds"),
        (1, "1 second"),
        (59.9, "59 seconds"),
        (60, "1 minute"),
        (7200, "2 hours"),
        (8 * 86400, "1 week"),
    ],
)
def test_spans(length_s: float, text: str) -> None:
    assert span(length_s) == text


def test_ago() -> None:
    assert ago(Timestamp(seconds=100), now_s=280) == "3 minutes ago"
    assert ago(Timestamp(seconds=100), now_s=100.5) == "just now"
    assert ago(Timestamp(), now_s=100) == ""


def test_short_durations_and_sizes() -> None:
    assert [short_duration(Duration(seconds=s)) for s in (0, 5, 90, 3600)] == ["0s", "5s", "1m30s", "1h"]
    assert short_duration(Duration(nanos=250_000_000)) == "250ms"
    assert [size(n) for n in (0, 1023, 1536, 2**30)] == ["0 B", "1023 B", "1.5 KiB", "1 GiB"]


def test_a_document_is_what_protobuf_reads_back() -> None:
    service = Service(id="x", pending_delete=True)
    service.meta.created_at.seconds = 5
    service.spec.replicated.replicas = 2**40
    service.spec.update.delay.seconds = 3
    service.spec.update.max_failure_ratio = 0.5
    service.spec.annotations.labels["a"] = "b"
    service.spec.task.container.mounts.add(type=1, target="/x")
    for with_empty in (True, False):
        data = to_data(service, with_empty=with_empty)
        assert ParseDict(data, Service()) == service
    assert data["spec"]["replicated"]["replicas"] == 2**40
    assert data["spec"]["task"]["container"]["mounts"] == [{"type": "VOLUME", "target": "/x"}]


def table() -> Table:
    made = Table([Column("ID"), Column("SIZE", right=True, rank=2), Column("WHY", may_wrap=True), Column("X", rank=1)])
    made.add("a1", Cell("10", "green"), "because of a rather long reason", "")
    made.add("b", "5", "", "")
    return made


def test_piped_tables_are_aligned_and_whole() -> None:
    assert plain_lines(table()) == [
        "ID   SIZE   WHY                               X",
        "a1     10   because of a rather long reason",
        "b       5",
    ]


def test_on_a_narrow_terminal_the_least_important_columns_go() -> None:
    assert [column.title for column in fitting(table(), 80).columns] == ["ID", "SIZE", "WHY"]
    assert [column.title for column in fitting(table(), 30).columns] == ["ID", "WHY"]
    assert [column.title for column in fitting(table(), 5).columns] == ["ID", "WHY"]


@pytest.mark.parametrize(
    ("text", "share"), [("10%", Share(percent=10)), ("99%", Share(percent=99)), ("3", Share(tasks=3))]
)
def test_shares(text: str, share: Share) -> None:
    assert parse_share(text) == share


@pytest.mark.parametrize("text", ["", "0", "0%", "100%", "%", "-1", "1.5", "ten", "5 %%"])
def test_what_is_no_share(text: str) -> None:
    with pytest.raises(ValueError, match="is no part of the tasks"):
        parse_share(text)
