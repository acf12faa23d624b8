"""IP addresses that callbacks may reach. Pure: nothing here resolves or connects.

The networks are listed, because ``ipaddress.is_global`` is not enough: in Python 3.11 it is true
for NAT64 and 6to4 forms of a metadata address and for multicast.
"""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, TypeAlias

Network: TypeAlias = IPv4Network | IPv6Network

# IANA's registries of special-purpose addresses (RFC 6890 and its successors), and services of
# clouds on addresses that look public. Narrow networks stand before those that contain them.
_DENIED: Final = (
    ("168.63.129.16/32", "metadata"),  # Azure's platform address, in public space
    ("169.254.169.254/32", "metadata"),
    ("169.254.170.2/32", "metadata"),  # ECS task credentials
    ("169.254.170.23/32", "metadata"),  # EKS Pod Identity
    ("100.100.100.200/32", "metadata"),  # Alibaba Cloud
    ("0.0.0.0/32", "unspecified"),
    ("0.0.0.0/8", "this network"),
    ("10.0.0.0/8", "private"),
    ("100.64.0.0/10", "carrier-grade NAT"),  # also the pods of EKS custom networking
    ("127.0.0.0/8", "loopback"),
    ("169.254.0.0/16", "link-local"),
    ("172.16.0.0/12", "private"),
    ("192.0.0.0/24", "IETF protocol assignments"),
    ("192.0.2.0/24", "documentation"),
    ("192.88.99.0/24", "6to4 relay"),
    ("192.168.0.0/16", "private"),
    ("198.18.0.0/15", "benchmarking"),
    ("198.51.100.0/24", "documentation"),
    ("203.0.113.0/24", "documentation"),
    ("224.0.0.0/4", "multicast"),
    ("255.255.255.255/32", "broadcast"),
    ("240.0.0.0/4", "reserved"),
    ("fd00:ec2::254/128", "metadata"),
    ("fd00:ec2::23/128", "metadata"),  # EKS Pod Identity
    ("::/128", "unspecified"),
    ("::1/128", "loopback"),
    ("::ffff:0:0/96", "IPv4-mapped"),
    ("::ffff:0:0:0/96", "IPv4-translated"),
    ("::/96", "IPv4-compatible"),
    ("64:ff9b::/96", "NAT64"),
    ("64:ff9b:1::/48", "NAT64"),
    ("100::/64", "discard-only"),
    ("2001::/32", "Teredo"),
    ("2001::/23", "IETF protocol assignments"),
    ("2001:db8::/32", "documentation"),
    ("2002::/16", "6to4"),
    ("3fff::/20", "documentation"),
    ("fc00::/7", "unique local"),
    ("fe80::/10", "link-local"),
    ("fec0::/10", "site-local"),
    ("ff00::/8", "multicast"),
    # Only 2000::/3 is assigned as global unicast; the rest of the space, in three blocks:
    ("::/3", "not global unicast"),
    ("4000::/2", "not global unicast"),
    ("8000::/1", "not global unicast"),
)
_NETWORKS: Final = tuple((ip_network(network), reason) for network, reason in _DENIED)


def denial(address: str, *, allowed: Iterable[Network] = ()) -> str | None:
    """Return why ``address`` may not be called; None if it may.

    Args:
        address: An address as a resolver returns it; a zone (``%eth0``) is ignored.
        allowed: Networks that may be called although they are on the list.
    """
    try:
        ip = ip_address(address.partition("%")[0])
    except ValueError:
        return "not an IP address"
    if any(ip in network for network in allowed):
        return None
    return _reason(ip)


def _reason(ip: IPv4Address | IPv6Address) -> str | None:
    for network, reason in _NETWORKS:
        if ip in network:
            return reason
    return None
