"""TCP and TLS flows between router, registrar and directory: what stands, and what is gone."""

from collections.abc import AsyncIterator

import pytest

from push_proxy.core.model import Address, Binding
from push_proxy.runtime.directory import Directory
from push_proxy.signaling.facts import FlowLost
from tests.unit.runtime.sip_scene import PBX, STRANGER, US, Scene, hold, trunk

PHONE = Address("203.0.113.5", 40000, "tls")
OURS = "sip:101@10.0.0.7:5060;pp=tok101"
CALLER = "sip:555@pbx.example.com"
FAR = "sip:102@pbx.example.com"


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    scene = await Scene().start()
    await scene.add(hold(), "phone")
    await scene.add(trunk(), "phone")
    yield scene
    await scene.aclose()


def lost(scene: Scene, remote: Address, *, outgoing: bool = False) -> None:
    """The connection has ended."""
    scene.router.on_fact(FlowLost(remote=remote, local=US, outgoing=outgoing, reason="reset"))


def binding(scene: Scene) -> Binding:
    (found,) = scene.directory.bindings(hold().key)
    return found


async def test_a_lost_connection_keeps_the_binding_and_takes_its_rights(scene: Scene) -> None:
    """The phone stays registered; the next connection from the same port is a stranger's."""
    scene.register(source=PHONE)
    assert scene.directory.has_flow(binding(scene))
    assert [o.what for o in scene.send("MESSAGE", FAR, source=PHONE)] == ["forward"]
    lost(scene, PHONE)
    assert not scene.directory.has_flow(binding(scene))
    (refused,) = scene.send("MESSAGE", FAR, source=PHONE)
    assert refused.status == 403
    scene.register(source=PHONE, cseq=50)
    assert scene.directory.has_flow(binding(scene))
    assert [o.what for o in scene.send("MESSAGE", FAR, source=PHONE)] == ["forward"]


async def test_connections_of_others_and_our_own_are_not_its(scene: Scene) -> None:
    """Only the very connection counts; one toward a PBX may have the same address."""
    scene.register(source=PHONE)
    lost(scene, Address(PHONE.host, 40001, "tls"))
    lost(scene, Address(PHONE.host, PHONE.port, "tcp"))
    lost(scene, PHONE, outgoing=True)
    assert scene.directory.has_flow(binding(scene))


async def test_no_connection_outlives_a_restart(scene: Scene) -> None:
    """Bindings come back from the store; those over UDP alone can be reached at once."""
    scene.register(source=PHONE)
    scene.register(
        source=Address("203.0.113.9", 5062),
        contact='<sip:101@203.0.113.9:5062>;+sip.instance="<urn:uuid:udp>"',
        call_id="reg-2",
    )
    await scene.directory.aclose()
    again = Directory(scene.store, scene.clock)
    await again.load()
    flows = {b.source.transport: again.has_flow(b) for b in again.bindings(hold().key)}
    assert flows == {"tls": False, "udp": True}
    assert again.by_flow(PHONE) == ()
    await again.aclose()


async def test_requests_that_wake_nobody_go_to_a_phone_that_can_be_reached(scene: Scene) -> None:
    """Heard last does not help when its connection is gone; none left is asleep."""
    udp = Address("203.0.113.9", 5062)
    scene.register(
        source=udp,
        contact='<sip:101@203.0.113.9:5062>;+sip.instance="<urn:uuid:udp>"',
        call_id="reg-2",
    )
    scene.clock.advance(5)
    scene.register(source=PHONE)
    message = ("SUBSCRIBE", OURS)
    (order,) = scene.send(*message, source=PBX, from_=CALLER)
    assert order.rewrite is not None
    assert order.rewrite.destination == PHONE
    lost(scene, PHONE)
    (order,) = scene.send(*message, source=PBX, from_=CALLER)
    assert order.rewrite is not None
    assert order.rewrite.destination == udp
    scene.register(
        "Expires: 0",
        source=udp,
        contact='<sip:101@203.0.113.9:5062>;+sip.instance="<urn:uuid:udp>"',
        call_id="reg-2",
    )
    assert [o.status for o in scene.send(*message, source=PBX, from_=CALLER)] == [480]


async def test_requests_to_a_phone_behind_proxies_take_its_path(scene: Scene) -> None:
    """Route is the Path of the REGISTER, and nothing that the PBX put there (RFC 3327)."""
    orders = scene.register("Supported: path", "Path: <sip:edge2;lr>, <sip:edge1;lr>", source=PHONE)
    (answer,) = [order for order in orders if order.what == "reply"]
    assert (answer.status, answer.headers["Path"]) == (200, ["<sip:edge2;lr>", "<sip:edge1;lr>"])
    (order,) = scene.send("MESSAGE", OURS, "Route: <sip:elsewhere;lr>", source=PBX, from_=CALLER)
    assert order.rewrite is not None
    assert dict(order.rewrite.add)["Route"] == "<sip:edge2;lr>, <sip:edge1;lr>"
    assert "route" in order.rewrite.remove
    assert order.rewrite.destination == PHONE


async def test_a_phone_without_path_has_no_route(scene: Scene) -> None:
    """Nothing is added and nothing removed."""
    scene.register(source=PHONE)
    (order,) = scene.send("MESSAGE", OURS, source=PBX, from_=CALLER)
    assert order.rewrite is not None
    assert "Route" not in dict(order.rewrite.add)
    assert "route" not in order.rewrite.remove


async def test_a_trunk_is_known_by_its_certificate(scene: Scene) -> None:
    """From any address, for its own accounts alone; another name proves nothing."""
    elsewhere = Address(STRANGER.host, 61000, "tls")
    names = ("other.example.com", "trunk.example.com")
    call = ("INVITE", "sip:201@10.0.0.7")
    assert scene.send(*call, source=elsewhere, from_=CALLER, peer_names=names) == []
    assert len(scene.notices.invites) == 1
    (other,) = scene.send("INVITE", OURS, source=elsewhere, from_=CALLER, peer_names=names)
    assert other.status == 404
    for wrong in ((), ("other.example.com",)):
        (refused,) = scene.send(*call, source=elsewhere, from_=CALLER, peer_names=wrong)
        assert refused.status == 403


async def test_a_trunk_that_passes_registers_on(scene: Scene) -> None:
    """On one connection its phones' requests are told from its own by their From."""
    edge, names = Address("198.51.100.9", 45000, "tls"), ("trunk.example.com",)
    scene.register(
        aor="sip:201@trunk.example.com", user="201", source=edge, contact="<sip:201@10.9.9.9>"
    )
    call = ("INVITE", "sip:201@10.0.0.7")
    assert scene.send(*call, source=edge, from_=CALLER, peer_names=names) == []
    assert len(scene.notices.invites) == 1
    own = {"source": edge, "from_": "sip:201@trunk.example.com", "peer_names": names}
    (challenge,) = scene.send("INVITE", "sip:9@trunk.example.com", **own)  # type: ignore[arg-type]
    assert challenge.status == 407
