"""Any sequence of REGISTERs with push parameters keeps devices, bindings and answers in step."""

from hypothesis import given
from hypothesis import strategies as st

from push_proxy.core.binding import BindingRules, decide
from push_proxy.core.ids import AccountId, DeviceId, Instant, TenantId
from push_proxy.core.matching import is_anonymous
from push_proxy.core.message import parse
from push_proxy.core.model import Account, Address, Binding, Device
from push_proxy.core.push_params import PushServices
from push_proxy.core.register import BadRegister, read_register
from push_proxy.core.token_fate import dropped

ACCOUNT = Account(tenant=TenantId("t"), account=AccountId("a"), aor="sip:101@pbx")
PUT = Device(
    account=ACCOUNT.key, device=DeviceId("put"), provider="fcm", app_id="fcm p", token="T1"
)
SERVICES = PushServices(
    names=("apns", "fcm"),
    app_for=lambda provider, param: f"{provider} {param}" if param == "p" else None,
    purr_key=b"k",
)
V, W = "1a" * 32, "2b" * 32
PUSH = st.sampled_from(
    [
        "",
        *(f";pn-provider=fcm;pn-param=p;pn-prid=T{n}" for n in (1, 2, 3)),
        ";pn-provider=fcm;pn-param=foreign;pn-prid=T1",
        f";pn-provider=apns;pn-param=p.voip&remote;pn-prid={V}:voip&{W}:remote",
        f";pn-provider=apns;pn-param=p.voip&remote;pn-prid={W}:remote",
        f";pn-provider=apns.dev;pn-param=p.voip;pn-prid={V}",
        ";pn-provider",
        ";pn-provider=fcm",
        ";pn-provider=acme",
        ";app-id=p;pn-type=google;pn-tok=T2",
    ]
)
CONTACT = st.builds(
    "<sip:101@10.0.0.{}:5060{}>{}{}".format,
    st.integers(1, 3),
    PUSH,
    st.sampled_from(["", ';+sip.instance="<urn:a>"', ';+sip.instance="<urn:b>"']),
    st.sampled_from(["", "", ";expires=0", ";+sip.pnsreg"]),
)
STEP = st.tuples(
    st.sampled_from(["c1", "c2"]),
    st.lists(CONTACT, max_size=2) | st.just(["*"]),
    st.sampled_from([0, 600, 600]),
    st.floats(0, 400),
    st.booleans(),
)


@given(put=st.booleans(), steps=st.lists(STEP, max_size=12))
def test_promises(*, put: bool, steps: list[tuple[str, list[str], int, float, bool]]) -> None:
    """Every pushed binding has its device with a target; refusals change nothing; a device
    announced by PUT never goes; an answer offers pushes only to those who get them.
    """
    now = Instant(1e9)
    bindings: dict[DeviceId, Binding] = {}
    devices: dict[DeviceId, Device] = {PUT.device: PUT} if put else {}
    for cseq, (call_id, contacts, expires, pause, dies) in enumerate(steps, 1):
        now = Instant(now + pause)
        bindings = {name: b for name, b in bindings.items() if b.expires_at > now}
        if dies and devices:
            first = next(iter(devices))
            if devices[first].token:
                devices[first] = dropped(devices[first], "Unregistered", now)
        lines = ["REGISTER sip:pbx SIP/2.0", f"Call-ID: {call_id}", f"CSeq: {cseq} REGISTER"]
        lines += [*(f"Contact: {contact}" for contact in contacts), f"Expires: {expires}", "", ""]
        try:
            asked = read_register(parse("\r\n".join(lines).encode()))
        except BadRegister:
            continue
        decision = decide(
            asked,
            account=ACCOUNT,
            devices=tuple(devices.values()),
            bindings=tuple(bindings.values()),
            source=Address("10.0.0.9", 1),
            local=Address("10.0.0.8", 5060),
            rules=BindingRules(),
            now=now,
            services=SERVICES,
        )
        offers = [value for name, value in decision.headers if name == "Feature-Caps"]
        if decision.status != 200:
            assert decision.status in (500, 555)
            assert bool(offers) is (decision.status == 555)
            changes = (decision.put, decision.removed, decision.announced, decision.forgotten)
            assert not any((*changes, decision.confirmed))
            continue
        for binding in decision.removed:
            del bindings[binding.device]
        bindings |= {binding.device: binding for binding in decision.put}
        for name in decision.forgotten:
            assert devices.pop(name).by_register
            assert name not in bindings
        for device in decision.announced:
            assert device.by_register is (device.device != PUT.device)
            assert devices.get(device.device) != device
            devices[device.device] = device
        assert set(decision.confirmed) <= set(devices)
        assert put is (PUT.device in devices)
        for binding in decision.put:
            assert binding.device in devices or is_anonymous(binding.device)
            pushed = binding.wants_refresh
            assert pushed is (
                binding.device in decision.confirmed
                or any(d.device == binding.device and d.token for d in decision.announced)
            )
            assert not pushed or devices[binding.device].has_target
            assert binding.purr is pushed
        granted = sum("+sip.pnspurr" in value for value in ",".join(offers).split(", *"))
        assert granted <= sum(binding.wants_refresh for binding in decision.put)
        if any(binding.wants_refresh for binding in decision.put):
            assert granted
