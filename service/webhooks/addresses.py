"""Which addresses a webhook may lead to: none from which the service could reach its own house.

Source: IANA's registries of special-purpose addresses (RFC 6890 and its successors).
"""

import ipaddress
import socket
from collections.abc import Callable
from urllib.parse import urlsplit

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], list[str]]
"""From a host and a port to IP addresses; raises OSError if there is none."""

_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
# Beyond what `is_global` refuses: some versions of Python pass these.
_NOT_PUBLIC = tuple(
    map(
        ipaddress.ip_network,
        (
            "192.0.0.0/24",  # protocol assignments
            "192.88.99.0/24",  # relays of 6to4
            "2001::/23",  # protocol assignments, Teredo among them, which hides an IPv4 address
            "2002::/16",  # 6to4, likewise
            "3fff::/20",  # documentation
        ),
    )
)
_METADATA = frozenset(
    map(
        ipaddress.ip_address,
        (
            "168.63.129.16",  # Azure
            "100.100.100.200",  # Alibaba
            "192.0.0.192",  # Oracle
            "fd00:ec2::254",  # AWS; the 169.254.169.254 of most clouds is link-local
        ),
    )
)


class ForbiddenAddress(Exception):
    """The host has an address that no webhook may lead to. It is not named: a group could learn
    the addresses of our network from it."""


def resolve(host: str, port: int) -> list[str]:
    """By the system's resolver, which also knows other spellings of numbers (`0x7f.1`)."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))


def require_allowed(addresses: list[str], scheme: str, *, private_too: bool) -> None:
    """Raises ForbiddenAddress unless the service may connect to each of a host's addresses.

    Public ones only, by https; with `private_too` also private ones and loopback, by http too.
    """
    for text in addresses:
        address = _judged(text)
        if is_public(address):
            if scheme != "https":
                raise ForbiddenAddress("http is for private addresses; a public one needs https")
        elif not (private_too and _is_ordinary_private(address)):
            raise ForbiddenAddress("the host has an address that is not public")


def require_host_allowed(url: str, *, private_too: bool) -> None:
    """Judges what the URL itself tells; its name is looked up at each delivery, and judged then.

    Raises ForbiddenAddress.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme != "https" and not private_too:
        raise ForbiddenAddress("it must start with https://")
    if host == "localhost" or host.endswith(".localhost"):
        host = "127.0.0.1"
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return  # a name
    require_allowed([host], parts.scheme, private_too=private_too)


def is_public(address: Address) -> bool:
    if address in _METADATA or any(address in network for network in _NOT_PUBLIC):
        return False
    if isinstance(address, ipaddress.IPv6Address) and address not in _GLOBAL_UNICAST:
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def _is_ordinary_private(address: Address) -> bool:
    """Loopback or a network of one's own, but no cloud's metadata, which holds credentials."""
    if address in _METADATA or address.is_link_local or address.is_unspecified:
        return False
    own = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")
    return address.is_loopback or any(address in ipaddress.ip_network(each) for each in own)


def _judged(text: str) -> Address:
    """The address that packets reach in the end: of an IPv4 address within IPv6, that one."""
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address
