from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection_worker.callback.addresses import denial


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        pytest.param("127.0.0.1", "loopback", id="loopback"),
        pytest.param("127.255.255.254", "loopback", id="end of loopback"),
        pytest.param("0.0.0.0", "unspecified", id="unspecified"),
        pytest.param("0.1.2.3", "this network", id="this network"),
        pytest.param("10.0.0.1", "private", id="private 10"),
        pytest.param("172.16.0.1", "private", id="private 172"),
        pytest.param("172.31.255.255", "private", id="end of private 172"),
        pytest.param("192.168.1.1", "private", id="private 192"),
        pytest.param("100.64.0.1", "carrier-grade NAT", id="CGNAT, EKS pods"),
        pytest.param("100.127.255.255", "carrier-grade NAT", id="end of CGNAT"),
        pytest.param("100.100.100.200", "metadata", id="Alibaba metadata"),
        pytest.param("169.254.169.254", "metadata", id="EC2 metadata"),
        pytest.param("169.254.170.2", "metadata", id="ECS credentials"),
        pytest.param("169.254.170.23", "metadata", id="EKS credentials"),
        pytest.param("168.63.129.16", "metadata", id="Azure platform"),
        pytest.param("169.254.1.1", "link-local", id="link-local"),
        pytest.param("192.0.0.192", "IETF protocol assignments", id="Oracle metadata"),
        pytest.param("192.0.2.1", "documentation", id="documentation 1"),
        pytest.param("198.51.100.1", "documentation", id="documentation 2"),
        pytest.param("203.0.113.1", "documentation", id="documentation 3"),
        pytest.param("192.88.99.1", "6to4 relay", id="6to4 relay"),
        pytest.param("198.19.255.255", "benchmarking", id="benchmarking"),
        pytest.param("224.0.0.1", "multicast", id="multicast"),
        pytest.param("239.255.255.255", "multicast", id="end of multicast"),
        pytest.param("240.0.0.1", "reserved", id="reserved"),
        pytest.param("255.255.255.255", "broadcast", id="broadcast"),
        pytest.param("::", "unspecified", id="unspecified 6"),
        pytest.param("::1", "loopback", id="loopback 6"),
        pytest.param("::ffff:127.0.0.1", "IPv4-mapped", id="mapped loopback"),
        pytest.param("::ffff:8.8.8.8", "IPv4-mapped", id="mapped public"),
        pytest.param("::ffff:0:8.8.8.8", "IPv4-translated", id="translated"),
        pytest.param("::169.254.169.254", "IPv4-compatible", id="compatible metadata"),
        pytest.param("64:ff9b::a9fe:a9fe", "NAT64", id="NAT64 of metadata"),
        pytest.param("64:ff9b:1::a00:1", "NAT64", id="local NAT64"),
        pytest.param("2002:a9fe:a9fe::1", "6to4", id="6to4 of metadata"),
        pytest.param("2001::7f00:1", "Teredo", id="Teredo"),
        pytest.param("2001:2::1", "IETF protocol assignments", id="benchmarking 6"),
        pytest.param("2001:db8::1", "documentation", id="documentation 6"),
        pytest.param("3fff::1", "documentation", id="documentation 6, new"),
        pytest.param("100::1", "discard-only", id="discard"),
        pytest.param("fc00::1", "unique local", id="unique local"),
        pytest.param("fd12:3456::1", "unique local", id="unique local, assigned"),
        pytest.param("fd00:ec2::254", "metadata", id="EC2 metadata 6"),
        pytest.param("fd00:ec2::23", "metadata", id="EKS credentials 6"),
        pytest.param("fe80::1", "link-local", id="link-local 6"),
        pytest.param("fe80::1%eth0", "link-local", id="link-local with zone"),
        pytest.param("fec0::1", "site-local", id="site-local"),
        pytest.param("ff02::1", "multicast", id="multicast 6"),
        pytest.param("5f00::1", "not global unicast", id="segment routing"),
        pytest.param("e000::1", "not global unicast", id="unassigned"),
        pytest.param("example.com", "not an IP address", id="a name"),
        pytest.param("", "not an IP address", id="nothing"),
        pytest.param("127.1", "not an IP address", id="a short form"),
        pytest.param("2130706433", "not an IP address", id="a number"),
    ],
)
def test_an_address_that_is_not_public_is_denied(address: str, reason: str) -> None:
    assert denial(address) == reason


@pytest.mark.parametrize(
    "address",
    [
        "1.1.1.1",
        "8.8.8.8",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.1.1",
        "223.255.255.255",
        "2001:200::1",
        "2606:4700:4700::1111",
        "2a00:1450:4001::1",
    ],
)
def test_a_public_address_may_be_called(address: str) -> None:
    assert denial(address) is None


def test_allowed_networks_open_what_is_denied() -> None:
    allowed = (ip_network("10.1.0.0/16"), ip_network("fd00::/8"))

    assert denial("10.1.2.3", allowed=allowed) is None
    assert denial("fd00::1", allowed=allowed) is None
    assert denial("10.2.0.1", allowed=allowed) == "private"


@given(st.ip_addresses())
def test_nothing_that_python_calls_special_is_let_through(
    address: IPv4Address | IPv6Address,
) -> None:
    special = (
        address.is_private
        or address.is_loopback
        or address.is_link_local
        or address.is_multicast
        or address.is_reserved
        or address.is_unspecified
    )

    assert denial(str(address)) is not None or not special


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_stays_denied_in_every_ipv6_form(address: IPv4Address) -> None:
    number = int(address)
    forms = [
        number,
        0xFFFF << 32 | number,
        0xFFFF << 48 | number,
        0x64FF9B << 96 | number,
        0x2002 << 112 | number << 80 | 1,
        0x20010000 << 96 | (number ^ 0xFFFFFFFF),
    ]

    assert all(denial(str(IPv6Address(form))) is not None for form in forms)


@given(st.ip_addresses())
def test_denial_is_the_same_however_the_address_is_written(
    address: IPv4Address | IPv6Address,
) -> None:
    assert denial(str(address)) == denial(ip_address(str(address)).exploded)
