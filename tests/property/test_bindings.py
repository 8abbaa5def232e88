"""Any sequence of REGISTERs over core.binding keeps the registrar's promises."""

from hypothesis import given
from hypothesis import strategies as st

from push_proxy.core.binding import BindingRules, decide
from push_proxy.core.ids import AccountId, DeviceId, Instant, TenantId
from push_proxy.core.matching import is_anonymous
from push_proxy.core.message import parse
from push_proxy.core.model import Account, Address, Binding, Device
from push_proxy.core.register import BadRegister, read_register

ACCOUNT = Account(tenant=TenantId("t"), account=AccountId("a"), aor="sip:101@pbx")
RULES = BindingRules()
INSTANCES = ["", ';+sip.instance="<urn:a>"', ';+sip.instance="<urn:b>"']
CONTACT = st.builds(
    "<sip:101@10.0.0.{}:{}{}>{}{}".format,
    st.integers(1, 3),
    st.sampled_from([5060, 5070]),
    st.sampled_from(["", ";pn-prid=T1", ";pn-prid=T2"]),
    st.sampled_from(INSTANCES),
    st.sampled_from(["", "", ";expires=0", ";expires=100"]),
)
STEP = st.tuples(
    st.sampled_from(["c1", "c2", "c3"]),
    st.integers(1, 20),
    st.lists(CONTACT, max_size=3) | st.just(["*"]),
    st.sampled_from([None, 0, 30, 600, 9999]),
    st.floats(0, 400),
)
DEVICES = st.lists(
    st.sampled_from(["d1", "d2", "d3"]), unique=True, max_size=3
).flatmap(
    lambda names: st.tuples(
        *(
            st.builds(
                lambda name, instance, token: Device(
                    account=ACCOUNT.key, device=DeviceId(name), provider="webhook", app_id="x",
                    token=token, instance_id=instance,
                ),
                st.just(name),
                st.sampled_from([None, "urn:a", "urn:b"]),
                st.sampled_from(["T1", "T2", "other"]),
            )
            for name in names
        )
    )
)  # fmt: skip


@given(devices=DEVICES, steps=st.lists(STEP, max_size=12))
def test_promises(
    devices: tuple[Device, ...],
    steps: list[tuple[str, int, list[str], int | None, float]],
) -> None:
    """One binding per device; order kept; refusals change nothing; the answer lists all."""
    now = Instant(1e9)
    state: dict[DeviceId, Binding] = {}
    known = {device.device for device in devices}
    for call_id, cseq, contacts, expires, pause in steps:
        now = Instant(now + pause)
        state = {name: b for name, b in state.items() if b.expires_at > now}
        lines = ["REGISTER sip:pbx SIP/2.0", f"Call-ID: {call_id}", f"CSeq: {cseq} REGISTER"]
        lines += [f"Contact: {contact}" for contact in contacts]
        lines += [f"Expires: {expires}"] if expires is not None else []
        try:
            asked = read_register(parse("\r\n".join([*lines, "", ""]).encode()))
        except BadRegister:
            continue
        decision = decide(
            asked,
            account=ACCOUNT,
            devices=devices,
            bindings=tuple(state.values()),
            source=Address("10.0.0.9", 1),
            local=Address("10.0.0.8", 5060),
            rules=RULES,
            now=now,
        )
        if decision.status != 200:
            assert decision.status in (423, 500)
            assert decision.put == decision.removed == ()
            continue
        for binding in decision.removed:
            assert state.pop(binding.device) == binding
            assert binding.call_id != call_id or binding.cseq < cseq
        assert len({binding.device for binding in decision.put}) == len(decision.put)
        for binding in decision.put:
            old = state.get(binding.device)
            assert old is None or old.call_id != call_id or old.cseq < cseq
            assert binding.device in known or is_anonymous(binding.device)
            assert 60 <= binding.expires_at - now <= 3600
            state[binding.device] = binding
        assert len([h for h in decision.headers if h[0] == "Contact"]) == len(state)
        assert sum(is_anonymous(name) for name in state) <= RULES.max_anonymous
        announced = [b.instance for b in state.values() if b.instance]
        assert len(announced) == len(set(announced)), "one installation, two bindings"
