"""Which hosts are this machine, by what is written: nothing is looked up."""

import ipaddress


def is_loopback(host: str) -> bool:
    """Return whether a host is loopback, by name or by address; where others lead, nobody knows."""
    if host.lower() == "localhost":  # RFC 6761, section 6.3
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name: where it leads is known only once it is asked for, each time anew
        return False
