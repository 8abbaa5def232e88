"""runtime.outbound: an app's requests go to the PBX's server that answers, on its way."""

from collections.abc import AsyncIterator

import pytest

from push_proxy.core.ids import ServerTxn
from push_proxy.core.model import Address
from push_proxy.core.registration_answer import Answer
from push_proxy.signaling.contract import Rewrite
from push_proxy.signaling.facts import ForwardResponse
from tests.unit.runtime.sip_scene import NAMES, Scene, hold

FIRST, SECOND = Address("192.0.2.10", 5060), Address("192.0.2.20", 5060)


@pytest.fixture
async def scene(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    monkeypatch.setitem(NAMES, "pbx.example.com", (FIRST.host, SECOND.host))
    scene = await Scene().start()
    await scene.add(hold(), "phone")
    scene.register()
    yield scene
    await scene.aclose()


def invite(scene: Scene, call_id: str = "call") -> tuple[ServerTxn, Rewrite]:
    *_, order = scene.send("INVITE", "sip:200@pbx.example.com", call_id=call_id)
    assert order.rewrite is not None
    return ServerTxn(order.txn), order.rewrite


def end(scene: Scene, txn: ServerTxn, status: int, *, local: bool) -> None:
    scene.router.on_fact(ForwardResponse(txn=txn, status=status, reason="R", local=local))


@pytest.mark.parametrize("status", [408, 503])
async def test_the_next_call_goes_to_the_other_server(scene: Scene, status: int) -> None:
    """One that did not answer is avoided for 30 s; then it is tried again."""
    txn, rewrite = invite(scene)
    assert (rewrite.destination, rewrite.connect) == (FIRST, True)
    scene.clock.advance(1)
    end(scene, txn, status, local=True)
    txn, rewrite = invite(scene, "again")
    assert rewrite.destination == SECOND
    end(scene, txn, 200, local=False)
    scene.clock.advance(31)
    assert invite(scene, "later")[1].destination == FIRST


async def test_the_pbxs_own_refusals_speak_of_the_call(scene: Scene) -> None:
    """486 or 503 of the PBX: the next call goes there all the same."""
    for status in (486, 503):
        txn, _ = invite(scene, f"call-{status}")
        end(scene, txn, status, local=False)
        assert invite(scene, f"next-{status}")[1].destination == FIRST


async def test_silence_from_before_the_last_answer_proves_nothing(scene: Scene) -> None:
    """A call that ends in silence after the server has answered another one (Timer C)."""
    txn, _ = invite(scene)
    other, _ = invite(scene, "other")
    scene.clock.advance(30)
    end(scene, other, 200, local=False)
    scene.clock.advance(2)
    end(scene, txn, 408, local=True)
    assert invite(scene, "next")[1].destination == FIRST


async def test_nothing_is_kept_of_what_has_ended(scene: Scene) -> None:
    """Whatever ended it."""
    txn, _ = invite(scene)
    end(scene, txn, 404, local=False)
    assert scene.outbound._sent == {}


async def test_the_pbxs_service_route_is_taken(scene: Scene) -> None:
    """RFC 3608: what the 200 to our REGISTER named becomes the Route, in its order."""
    routes = ("<sip:edge.example.com;lr>", "<sip:core.example.com;lr>")
    scene.outbound._service_route = {"t/a101": routes}.__getitem__  # type: ignore[assignment]
    _, rewrite = invite(scene)
    assert rewrite.add[-2:] == (("Route", routes[0]), ("Route", routes[1]))
    assert "route" in rewrite.remove
    assert rewrite.destination == FIRST


def test_service_routes_are_read() -> None:
    """All of them or, when one is no SIP URI, none."""
    head = "SIP/2.0 200 OK\r\n"
    good = f"{head}Service-Route: <sip:a;lr>, <sip:b;lr>\r\nService-Route: <sip:c;lr>\r\n\r\n"
    answer = Answer.read(200, "OK", local=False, raw=good.encode())
    assert answer.service_route == ("<sip:a;lr>", "<sip:b;lr>", "<sip:c;lr>")
    bad = f"{head}Service-Route: <sip:a;lr>, <tel:5>\r\n\r\n"
    assert Answer.read(200, "OK", local=False, raw=bad.encode()).service_route == ()
