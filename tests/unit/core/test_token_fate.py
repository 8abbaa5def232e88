"""What answers of providers mean for tokens, case by case."""

from dataclasses import replace

import pytest

from push_proxy.core.ids import AccountKey, DeviceId, Instant
from push_proxy.core.model import Device, TokenFault, TokenState
from push_proxy.core.token_fate import Learned, TokenNews, dropped, is_dead, learned, token_sha256

NOW = Instant(1_000.0)
PHONE = Device(
    account=AccountKey("acme/alice"),
    device=DeviceId("phone"),
    provider="apns",
    app_id="com.example.phone",
    token="voip-1",
    alert_token="alert-1",
    token_at=100.0,
)
WRONG = TokenFault(state=TokenState.WRONG_APP, reason="DeviceTokenNotForTopic", at=Instant(200.0))
MARKED = replace(PHONE, token_fault=WRONG)
UNKNOWN = "Unregistered"


def news(state: TokenState | None, **changes: object) -> TokenNews:
    """An answer about ``voip-1``, to a push that left at 500."""
    base = TokenNews(token="voip-1", sent_at=Instant(500.0), state=state, reason=UNKNOWN)
    return replace(base, **changes)  # type: ignore[arg-type]


DEAD, WRONG_APP, GOOD = TokenState.DEAD, TokenState.WRONG_APP, TokenState.GOOD


@pytest.mark.parametrize(
    ("said", "drops"),
    [
        pytest.param(news(DEAD), True, id="no time given: dead when the push left"),
        pytest.param(news(DEAD, dead_since=Instant(300.0)), True, id="dead since it was named"),
        pytest.param(news(DEAD, dead_since=Instant(100.0)), True, id="in the same moment"),
        pytest.param(news(DEAD, dead_since=Instant(99.9)), False, id="named again after that"),
        pytest.param(news(DEAD, sent_at=Instant(99.9)), False, id="named again after the push"),
        pytest.param(news(DEAD, token="voip-0"), False, id="rotated meanwhile"),
        pytest.param(news(DEAD, token=""), False, id="nothing was pushed to"),
        pytest.param(news(None), False, id="unavailable says nothing"),
        pytest.param(news(WRONG_APP), False, id="wrong app is kept"),
        pytest.param(news(GOOD), False, id="taken"),
    ],
)
def test_when_a_token_is_dropped(said: TokenNews, drops: bool) -> None:
    """Only the very token that was pushed to, and only if not named again since it died."""
    after = learned(PHONE, said, NOW)
    assert after.dropped is drops
    assert after.device.has_target is not drops
    if drops:
        fault = TokenFault(state=DEAD, reason=UNKNOWN, at=NOW, token_sha256=token_sha256("voip-1"))
        assert after.device == replace(PHONE, token="", token_fault=fault)


@pytest.mark.parametrize(
    ("device", "said", "after"),
    [
        pytest.param(
            PHONE,
            news(WRONG_APP),
            replace(PHONE, token_fault=TokenFault(state=WRONG_APP, reason=UNKNOWN, at=NOW)),
            id="marked",
        ),
        pytest.param(MARKED, news(WRONG_APP, reason=WRONG.reason), MARKED, id="marked once"),
        pytest.param(MARKED, news(GOOD), PHONE, id="cleared by a push that is taken"),
        pytest.param(MARKED, news(None), MARKED, id="silence clears nothing"),
        pytest.param(MARKED, news(GOOD, token="voip-0"), MARKED, id="another token's success"),
        pytest.param(
            PHONE,
            news(WRONG_APP, alert=True, token="alert-1"),
            PHONE,
            id="calls go on with the other token",
        ),
        pytest.param(
            PHONE,
            news(GOOD, environment="sandbox"),
            replace(PHONE, environment="sandbox"),
            id="environment found",
        ),
        pytest.param(
            PHONE,
            news(GOOD, environment="sandbox", token="voip-0"),
            PHONE,
            id="environment of a former token",
        ),
        pytest.param(
            PHONE,
            news(GOOD, environment="sandbox", alert=True, token="alert-1"),
            replace(PHONE, environment="sandbox"),
            id="environment found by an alert",
        ),
        pytest.param(
            PHONE,
            news(DEAD, alert=True, token="alert-1"),
            replace(PHONE, alert_token=None),
            id="the token for alerts dies alone",
        ),
        pytest.param(
            PHONE,
            news(DEAD, alert=True, token="alert-0"),
            PHONE,
            id="a former token for alerts",
        ),
    ],
)
def test_what_is_noted(device: Device, said: TokenNews, after: Device) -> None:
    """Marks, environments and the second token of an iPhone; unchanged is the very same."""
    result = learned(device, said, NOW)
    assert result.device == after
    assert (result.device is device) is (after == device)


def test_a_token_dies_once() -> None:
    """The second answer about a dead token finds it gone: nobody is told again."""
    first = learned(PHONE, news(DEAD), NOW)
    assert learned(first.device, news(DEAD), NOW) == Learned(first.device)


def test_a_dead_token_is_known_again() -> None:
    """By its hash alone, so that a REGISTER that goes on naming it does not bring it back."""
    gone = dropped(PHONE, "idle", NOW)
    assert is_dead(gone, "voip-1")
    assert not is_dead(gone, "voip-2")
    assert not is_dead(MARKED, "voip-1")
    assert "voip-1" not in repr(gone)
