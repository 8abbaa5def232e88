"""Nodes are asked by OPTIONS; whatever comes back says that they live."""

import asyncio

import pytest

from push_proxy.core.model import Address
from push_proxy.runtime import node_probe
from push_proxy.runtime.node_probe import NodeProbe
from push_proxy.signaling.contract import StackSettings
from push_proxy.signaling.facts import RequestAnswered
from push_proxy.signaling.fake import FakeSignaling, Requested
from push_proxy.tasks import spawn

ME, THERE = Address("10.0.0.9", 5060), Address("10.0.0.1", 5080)


@pytest.fixture
async def stack() -> FakeSignaling:
    stack = FakeSignaling()
    listen = (Address("10.0.0.9", 5060, "tcp"), Address("10.0.0.9", 5060))
    settings = StackSettings(listen=listen, public_host="10.0.0.9", token_key=b"k" * 32)
    await stack.start(settings, lambda _: None)
    return stack


def answered(order: Requested, status: int, *, local: bool = False) -> RequestAnswered:
    return RequestAnswered(request=order.request, status=status, reason="", local=local, raw=b"")


async def asked(stack: FakeSignaling, count: int = 1) -> list[Requested]:
    async with asyncio.timeout(5):
        while len(stack.orders) < count:  # noqa: ASYNC110 - until it has asked
            await asyncio.sleep(0.001)
    return [order for order in stack.orders if isinstance(order, Requested)]


@pytest.mark.parametrize("status", [200, 403, 503])
async def test_any_answer_is_a_sign_of_life(stack: FakeSignaling, status: int) -> None:
    """The question goes by the listener of its transport, to the address itself."""
    probe = NodeProbe(stack, me=lambda: ME)
    task = spawn(probe.answers(THERE), name="question")
    (order,) = await asked(stack)
    assert (order.method, order.request_uri) == ("OPTIONS", "sip:10.0.0.1:5080")
    assert (order.destination, order.local) == (THERE, ME)
    assert not probe.on_answer(
        RequestAnswered(request=7, status=200, reason="", local=False, raw=b"")
    )
    assert probe.on_answer(answered(order, status))
    assert await task


async def test_silence(stack: FakeSignaling, monkeypatch: pytest.MonkeyPatch) -> None:
    """After some seconds it is taken for dead; what the stack says after that is no answer."""
    monkeypatch.setattr(node_probe, "WITHIN_S", 0.05)
    probe = NodeProbe(stack, me=lambda: ME)
    assert not await probe.answers(THERE)
    (order,) = await asked(stack)
    assert probe.on_answer(answered(order, 408, local=True))
    assert not probe.on_answer(answered(order, 408, local=True))


async def test_what_fails_here_is_tried_again(
    stack: FakeSignaling, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that is refused says nothing yet: the node may be about to listen."""
    monkeypatch.setattr(node_probe, "_AGAIN_S", 0.01)
    probe = NodeProbe(stack, me=lambda: ME)
    there = Address("2001:db8::1", 5061, "tls")
    task = spawn(probe.answers(there), name="question")
    (first,) = await asked(stack)
    assert first.request_uri == "sip:[2001:db8::1]:5061;transport=tls"
    assert probe.on_answer(answered(first, 503, local=True))
    _, second = await asked(stack, 2)
    assert probe.on_answer(answered(second, 200))
    assert await task
