"""Our own addresses: what phones and PBXs are told to use."""

import socket

from ..public_addresses import is_public
from ..runtime.dns_client import system_addresses
from .finding import Chart


async def examine(chart: Chart) -> None:
    """Whether they resolve, and whether those who are told of them can mean us."""
    await _public(chart, chart.settings.public_address)
    _node(chart, chart.settings.node_address)


async def _public(chart: Chart, name: str) -> None:
    what = f"sip.public_address {name}"
    try:
        found = await system_addresses(name)
    except (OSError, UnicodeError) as error:
        chart.fail(what, f"does not resolve ({error}): phones cannot find us; mend DNS or the name")
        return
    where = ", ".join(found)
    if all(is_public(address) for address in found):
        chart.ok(what, f"is {where}" if found != (name,) else "is a public address")
    else:
        chart.hint(
            what,
            f"is {where}, which is private: phones outside your network cannot reach it",
        )


def _node(chart: Chart, address: str) -> None:
    what = f"sip.node_address {address}"
    try:
        family = socket.getaddrinfo(address, 0, type=socket.SOCK_DGRAM)[0][0]
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except OSError as error:
        chart.hint(
            what,
            f"is no address of this machine ({error.strerror}): fine behind NAT or in a container "
            "if SIP that PBXs send there arrives here",
        )
    else:
        chart.ok(what, "is an address of this machine")
