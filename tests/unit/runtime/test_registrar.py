"""runtime.registrar: apps register, strangers learn nothing, wakes are told at once."""

from collections.abc import AsyncIterator

import pytest

from push_proxy.core.digest import Challenge
from push_proxy.core.model import Address, Algorithm, Binding, Credentials
from tests.unit.runtime.sip_scene import PHONE, STRANGER, US, Order, Scene, hold


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    scene = await Scene().start()
    await scene.add(hold(), "phone")
    yield scene
    await scene.aclose()


def kinds(orders: list[Order]) -> list[str]:
    return [order.what for order in orders]


async def test_a_phone_registers(scene: Scene) -> None:
    """The flow is bound, the 200 ordered, and the wakes told: in this order, in one tick."""
    orders = scene.register()
    assert kinds(orders) == ["bind", "reply", "registered"]
    bound, reply, registered = orders
    assert reply.status == 200
    assert reply.headers["Contact"] == ["<sip:101@203.0.113.5:40000>;expires=600"]
    (binding,) = registered.args
    assert isinstance(binding, Binding)
    assert bound.args == (binding.route_key, PHONE, US)
    assert scene.directory.binding(hold().key, binding.device) == binding


async def test_known_and_unknown_look_the_same(scene: Scene) -> None:
    """Same status, realm, algorithms and order; wrong answers to both are challenged again."""
    shown = []
    for user in ("101", "999"):
        aor = f"sip:{user}@pbx.example.com"
        (first,) = scene.send("REGISTER", "sip:pbx.example.com", from_=aor, to=aor)
        (again,) = scene.register(aor=aor, user=user, password="wrong")
        for order in (first, again):
            assert order.status == 401
            challenges = [Challenge.parse(v) for v in order.headers["WWW-Authenticate"]]
            shown.append([(c.realm, c.algorithm, c.stale) for c in challenges if c])
    assert shown[0] == [
        ("pbx.example.com", Algorithm.MD5, False),
        ("pbx.example.com", Algorithm.SHA256, False),
    ]
    assert shown.count(shown[0]) == 4
    assert scene.directory.bindings(hold().key) == ()


async def test_an_unknown_aor_takes_the_form_of_its_neighbours(scene: Scene) -> None:
    """A domain of HA1 accounts: the unknown AOR is challenged in their realm with MD5 alone."""
    ha1 = Credentials(ha1={Algorithm.MD5: "a" * 32}, realm="asterisk")
    for user in ("301", "302"):
        await scene.add(hold(user, aor=f"sip:{user}@md5.example.com", credentials=ha1))
    aor = "sip:399@md5.example.com"
    (order,) = scene.send("REGISTER", "sip:md5.example.com", from_=aor, to=aor)
    (challenge,) = [Challenge.parse(v) for v in order.headers["WWW-Authenticate"]]
    assert challenge is not None
    assert (challenge.realm, challenge.algorithm) == ("asterisk", Algorithm.MD5)


async def test_an_unknown_aor_has_one_form_however_it_is_written(scene: Scene) -> None:
    """An account has one: to ask again with another parameter must not tell the two apart."""
    ha1 = Credentials(ha1={Algorithm.MD5: "a" * 32}, realm="asterisk")
    await scene.add(hold("301", aor="sip:301@two.example.com", credentials=ha1))
    await scene.add(hold("302", aor="sip:302@two.example.com"))
    shown = set()
    for number in range(32):
        aor = f"sip:399@Two.example.com;x={number}"
        (order,) = scene.send("REGISTER", "sip:two.example.com", from_=aor, to=aor)
        challenge = Challenge.parse(order.headers["WWW-Authenticate"][0])
        assert challenge is not None
        shown.add(challenge.realm)
    assert len(shown) == 1


async def test_our_own_address_may_be_the_domain(scene: Scene) -> None:
    """A phone that was told only our address registers by its user part."""
    orders = scene.register(aor="sip:101@push.example.com")
    assert kinds(orders) == ["bind", "reply", "registered"]


async def test_a_replayed_register_is_stale(scene: Scene) -> None:
    """The same credentials a second time: 401 with stale=true."""
    aor = "sip:101@pbx.example.com"
    (first,) = scene.send("REGISTER", "sip:pbx.example.com", from_=aor, to=aor)
    proof = f"Authorization: {scene.answer(first, 'WWW-Authenticate', 'REGISTER')}"
    assert scene.send("REGISTER", "sip:pbx.example.com", proof, from_=aor, to=aor)[-1].status == 200
    (again,) = scene.send("REGISTER", "sip:pbx.example.com", proof, from_=aor, to=aor)
    assert again.status == 401
    assert "stale=true" in again.headers["WWW-Authenticate"][0]


async def test_a_burst_with_three_call_ids(scene: Scene) -> None:
    """One binding, three answers, three notices of the same device."""
    devices = set()
    for call_id in ("a", "b", "c"):
        orders = scene.register(call_id=call_id)
        assert kinds(orders) == ["bind", "reply", "registered"]
        (binding,) = orders[-1].args
        assert isinstance(binding, Binding)
        devices.add(binding.device)
    assert devices == {"phone"}
    assert len(scene.directory.bindings(hold().key)) == 1


async def test_a_lower_cseq_is_refused(scene: Scene) -> None:
    """Within a Call-ID; nobody is told."""
    scene.register(cseq=10)
    (order,) = scene.register(cseq=9)
    assert order.status == 500


async def test_unregistering_and_fetching(scene: Scene) -> None:
    """Expires 0: unbound and told; a fetch then lists nothing."""
    scene.register()
    orders = scene.register("Expires: 0")
    assert kinds(orders) == ["reply", "unbind", "unregistered"]
    (fetch,) = scene.register(contact=None)
    assert (fetch.status, fetch.headers) == (200, {})


async def test_expiry_unbinds(scene: Scene) -> None:
    """A binding that runs out is unbound, and the wakes are told."""
    scene.register()
    before = len(scene.stack.orders)
    scene.clock.advance(601)
    scene.directory.expire()
    assert kinds(scene.stack.orders[before:]) == ["unbind", "unregistered"]


async def test_a_disabled_account_is_refused_after_its_proof(scene: Scene) -> None:
    """403 for who knows the password; others see a challenge only."""
    await scene.add(hold(enabled=False), "phone")
    (order,) = scene.register()
    assert order.status == 403


async def test_stored_bindings_are_bound_at_start(scene: Scene) -> None:
    """After a restart the stack knows every flow again."""
    scene.register()
    again = Scene()
    again.directory = scene.directory
    again.registrar._directory = scene.directory
    again.registrar.start()
    assert kinds(again.stack.orders) == ["bind"]


@pytest.mark.parametrize(
    "raw", ["Contact: <nonsense\r\n", "Contact: *\r\n", "Require: foo\r\n", "Expires: 5\r\n"]
)
async def test_bad_registers_get_clear_answers(scene: Scene, raw: str) -> None:
    """400, 420 and 423; nothing is bound."""
    extra = raw.strip()
    contact = None if extra.startswith("Contact") else "<sip:101@h>"
    (order,) = scene.register(extra, contact=contact)
    assert order.status in (400, 420, 423)
    assert scene.directory.bindings(hold().key) == ()


async def test_passwords_cannot_be_guessed_fast(scene: Scene) -> None:
    """Thirty a minute from one host for one AOR, known or not; then 503, and it passes."""
    aors = ("sip:101@pbx.example.com", "sip:nobody@pbx.example.com")
    for number in range(30):
        for aor in aors:
            (order,) = scene.register(aor=aor, password=f"guess{number}")
            assert order.status == 401
    for aor in aors:
        (refused,) = scene.register(aor=aor, password="secret")
        assert refused.status == 503
        assert 1 <= int(refused.headers["Retry-After"][0]) <= 2
    elsewhere = scene.register(source=Address("203.0.113.99", 5060))
    assert "registered" in kinds(elsewhere)
    scene.clock.advance(2)
    assert "registered" in kinds(scene.register(call_id="later"))


async def test_a_forged_address_shuts_nobody_out(scene: Scene) -> None:
    """Without a challenge that was given to this host nothing is counted."""
    (challenge,) = scene.send(
        "REGISTER", "sip:pbx.example.com", to="sip:101@pbx.example.com", source=STRANGER
    )
    for _ in range(100):
        proof = scene.answer(challenge, "WWW-Authenticate", "REGISTER", password="guess")
        scene.send(
            "REGISTER",
            "sip:pbx.example.com",
            "Contact: <sip:101@203.0.113.5:40000>",
            f"Authorization: {proof}",
            to="sip:101@pbx.example.com",
        )
    assert "registered" in kinds(scene.register(cseq=500))
