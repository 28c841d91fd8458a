"""The text that nft is given. (That the kernel takes it, and changes lead to the same: tests/integration/net.)"""

from __future__ import annotations

from pathlib import Path

from swarm_worker.net import balance, ingress

from tests.worker.net.assignments import OTHER, endpoint, network, plan, port, service

RED = (network("red", 1), service("red", "web", "10.128.1.100"), service("red", "idle", "10.128.1.101"))
WEB1 = endpoint("red", "web", 1, "10.128.1.11")
WEB2 = endpoint("red", "web", 2, "10.128.1.12", OTHER)

VIP_TABLE = """\
table ip sw_vip
delete table ip sw_vip
table ip sw_vip {
  set addresses { type ipv4_addr; elements = { 10.128.1.100, 10.128.1.101 }; }
  map hairpins { type ipv4_addr . ipv4_addr : ipv4_addr; elements = { 10.128.1.11 . 10.128.1.11 : 10.128.1.1 }; }
  chain vip_10_128_1_100 { dnat to numgen inc mod 2 map { 0 : 10.128.1.11, 1 : 10.128.1.12 }; }
  map services { type ifname . ipv4_addr : verdict; elements = { "sw-red" . 10.128.1.100 : jump vip_10_128_1_100 }; }
  chain prerouting {
    type nat hook prerouting priority -110;
    iifname . ip daddr vmap @services
  }
  chain postrouting {
    type nat hook postrouting priority 90;
    ct status dnat snat ip to ip saddr . ip daddr map @hairpins
  }
  chain input {
    type filter hook input priority -10;
    ip daddr @addresses meta l4proto tcp reject with tcp reset
    ip daddr @addresses reject
  }
}
"""

INGRESS_TABLE = """\
table ip sw_ing
delete table ip sw_ing
table ip sw_ing {
  set overlays { type ipv4_addr; flags interval; elements = { 10.128.2.0/24 }; }
  set bridges { type ifname; elements = { "sw-ing" }; }
  chain port_tcp_8080 { ct mark set 0x7377; meta l4proto tcp dnat ip to numgen inc mod 1 map { 0 : 10.128.2.11 . 80 }; }
  map ports { type inet_proto . inet_service : verdict; elements = { tcp . 8080 : goto port_tcp_8080 }; }
  chain select {
    ip daddr != @overlays meta l4proto . th dport vmap @ports
  }
  chain raw {
    type filter hook prerouting priority -300;
    iifname @bridges ip daddr 127.0.0.0/8 drop
  }
  chain prerouting {
    type nat hook prerouting priority -105;
    fib daddr type local jump select
  }
  chain output {
    type nat hook output priority -105;
    fib daddr type local jump select
  }
  chain postrouting {
    type nat hook postrouting priority 90;
    ct mark 0x7377 ct status dnat masquerade
  }
}
"""


def test_the_table_of_virtual_addresses() -> None:
    assert balance.virtual_ips(plan(*RED, WEB1, WEB2)).full() == VIP_TABLE


def test_a_change_touches_one_service_only() -> None:
    both = balance.virtual_ips(plan(*RED, WEB1, WEB2))
    one = balance.virtual_ips(plan(*RED, WEB2))
    none = balance.virtual_ips(plan(*RED))
    assert both.change(both) == ""
    assert one.change(both).splitlines() == [
        "delete element ip sw_vip hairpins { 10.128.1.11 . 10.128.1.11 }",
        "flush chain ip sw_vip vip_10_128_1_100",
        "add rule ip sw_vip vip_10_128_1_100 dnat to numgen inc mod 1 map { 0 : 10.128.1.12 }",
    ]
    assert none.change(one).splitlines() == [
        'delete element ip sw_vip services { "sw-red" . 10.128.1.100 }',
        "flush chain ip sw_vip vip_10_128_1_100",
        "delete chain ip sw_vip vip_10_128_1_100",
    ]
    assert one.change(none).splitlines() == [
        "add chain ip sw_vip vip_10_128_1_100",
        "add rule ip sw_vip vip_10_128_1_100 dnat to numgen inc mod 1 map { 0 : 10.128.1.12 }",
        'add element ip sw_vip services { "sw-red" . 10.128.1.100 : jump vip_10_128_1_100 }',
    ]


def test_the_table_of_published_ports() -> None:
    made = plan(
        network("ing", 2, ingress=True),
        endpoint("ing", "web", 1, "10.128.2.11"),
        port("ing", "web", 8080, 80),
        port("ing", "nobody", 8081, 80),
    )
    assert ingress.ports(made).full() == INGRESS_TABLE


def test_a_port_opens_and_closes_by_itself() -> None:
    base = (network("ing", 2, ingress=True), port("ing", "web", 53, 5353, "UDP"))
    closed = ingress.ports(plan(*base))
    opened = ingress.ports(plan(*base, endpoint("ing", "web", 1, "10.128.2.11")))
    assert opened.change(opened) == ""
    assert opened.change(closed).splitlines() == [
        "add chain ip sw_ing port_udp_53",
        "add rule ip sw_ing port_udp_53 ct mark set 0x7377",
        "add rule ip sw_ing port_udp_53 meta l4proto udp dnat ip to numgen inc mod 1 map { 0 : 10.128.2.11 . 5353 }",
        "add element ip sw_ing ports { udp . 53 : goto port_udp_53 }",
    ]
    assert closed.change(opened).splitlines() == [
        "delete element ip sw_ing ports { udp . 53 }",
        "flush chain ip sw_ing port_udp_53",
        "delete chain ip sw_ing port_udp_53",
    ]


PROC_NET_TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   1: 0100007F:1F91 0200007F:C000 01 00000000:00000000 00:00000000 00000000     0        0 2 1 0 100 0 0 10 0
"""


def test_only_a_port_somebody_listens_on_is_occupied(tmp_path: Path) -> None:
    (tmp_path / "tcp").write_text(PROC_NET_TCP)
    base = (network("ing", 2, ingress=True), port("ing", "web", 8080, 80), port("ing", "web", 8081, 80))
    published = plan(*base, port("ing", "web", 8080, 80, "UDP")).ports
    (sentence,) = ingress.occupied(published, tmp_path)
    assert sentence.startswith("Port 8080/tcp is published by a service, but a program on this node listens on it")
