"""The hosts that the cluster's chaos is played on."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lab.namespaces import Host, Network, ip
from tests.lab.process import Process, poll_until

_ECHO = """
import socket
server = socket.create_server(("0.0.0.0", 7007))
print("listening", flush=True)
while True:
    with server.accept()[0] as peer:
        peer.sendall(peer.recv(9))
"""


@contextmanager
def _echo(host: Host, log: Path) -> Iterator[Process]:
    process = Process(host.inside(["python3", "-c", _ECHO]), name="echo", log=log)
    process.start()
    yield process
    process.kill()


def _answers(host: Host) -> bool:
    try:
        with socket.create_connection((host.address, 7007), timeout=0.3) as peer:
            peer.sendall(b"hello")
            return peer.recv(9) == b"hello"
    except OSError:
        return False


async def test_a_host_is_reached_until_it_is_cut_off(tmp_path: Path) -> None:
    """A host of its own answers, is silent while its cable is out, and answers again."""
    with Network() as network:
        host, other = network.host("a"), network.host("b")
        with _echo(host, tmp_path / "echo.log"):
            assert await poll_until(lambda: _answers(host), within_s=5)
            host.cut_off()
            assert not _answers(host)
            host.reconnect()
            assert await poll_until(lambda: _answers(host), within_s=5)
            assert not _answers(other)


def test_what_a_killed_run_has_left_is_removed() -> None:
    """Bridge, host and cables of a number that nobody holds any more are in nobody's way."""
    with Network() as network:
        left = network.host("a")
        number = left.cable.partition("v")[0]
    ip("link", "add", left.cable, "type", "veth", "peer", "name", f"{number}left")
    with Network() as network:
        assert network.host("a").cable == left.cable
    assert not Path("/sys/class/net", left.cable).exists()
