"""What the adapter knows of the insides of aioapns and h2: told when a new version changes it."""

from __future__ import annotations

import hashlib
import inspect
from importlib.metadata import version

from aioapns.connection import APNsBaseClientProtocol, APNsBaseConnectionPool, H2Protocol
from h2.connection import ConnectionInputs, ConnectionState, H2ConnectionStateMachine

from push_proxy.providers.apns_connection import ApnsConnection

AGAIN = (
    "read its changes, compare ApnsConnection and ApnsPool with it, run the tests of APNs, and "
    "only then change the version in pyproject.toml and here"
)


def test_versions() -> None:
    """The versions of aioapns and h2 are those that the adapter was written for."""
    assert version("aioapns") == "4.0", AGAIN
    assert version("h2").startswith("4.4."), AGAIN


def test_aioapns_begins_a_connection_as_it_did() -> None:
    """The parts of aioapns that are used as they are read as they did."""
    used = (
        H2Protocol.__init__,
        H2Protocol.connection_made,
        APNsBaseClientProtocol.__init__,
        APNsBaseClientProtocol.connection_made,
        APNsBaseConnectionPool.__init__,
    )
    text = "".join(inspect.getsource(each) for each in used)
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "2c1af3907d5676ae", AGAIN


def test_aioapns_has_no_more_than_we_know() -> None:
    """Every event handler of its protocol is either replaced here or never called."""
    known = {
        "connection_made", "data_received", "flush", "connection_lost", "close", "is_busy",
        "send_notification", "refresh_inactivity_timer", "on_response_received",
        "on_data_received", "on_remote_settings_changed", "on_stream_ended",
        "on_connection_terminated", "APNS_SERVER", "APNS_PORT", "INACTIVITY_TIME",
    }  # fmt: skip
    base = ApnsConnection.__mro__[1:-4]
    found = {name for each in base for name in vars(each) if not name.startswith("_")}
    assert found <= known, AGAIN


def test_h2_ends_at_goaway_and_ours_does_not() -> None:
    """h2's table of states is a class attribute, and GOAWAY closes it: the one entry we change."""
    goaway = (ConnectionState.CLIENT_OPEN, ConnectionInputs.RECV_GOAWAY)
    table = H2ConnectionStateMachine._transitions
    assert table[goaway] == (None, ConnectionState.CLOSED), AGAIN
    machine = H2ConnectionStateMachine()
    assert machine.state is ConnectionState.IDLE, AGAIN
