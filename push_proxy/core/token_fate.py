"""What a provider's answer means for a device's push tokens.

Answers come late and tokens rotate meanwhile, so nothing is believed of a token that is not
the device's any more, or that the app has named again since it is said to be dead.
"""

from dataclasses import dataclass, field, replace
from hashlib import sha256

from .ids import Instant
from .model import Device, TokenFault, TokenState


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenNews:
    """What an answer says about the token that was pushed to."""

    token: str = field(repr=False)
    alert: bool = False
    """It was the device's ``alert_token``."""
    sent_at: Instant
    state: TokenState | None
    """``good``: the push was taken. None: the answer says nothing about the token."""
    reason: str = ""
    dead_since: Instant | None = None
    """By the provider, on our clock; None: it was dead when the push left."""
    environment: str | None = None
    """Where the token proved to be at home."""


@dataclass(frozen=True, slots=True)
class Learned:
    """What follows for the device."""

    device: Device
    """As it is from now on; the very same when nothing changes."""
    dropped: bool = False
    """A token has died by this, and its owner is to be told."""


def learned(device: Device, news: TokenNews, now: Instant) -> Learned:
    """The device after an answer about one of its pushes."""
    current = device.alert_token if news.alert else device.token
    if not current or current != news.token:
        return Learned(device)
    match news.state:
        case TokenState.DEAD:
            since = news.sent_at if news.dead_since is None else news.dead_since
            if device.token_at > since:
                return Learned(device)
            return Learned(dropped(device, news.reason, now, alert=news.alert), dropped=True)
        case TokenState.WRONG_APP if not news.alert:
            return Learned(_marked(device, news.reason, now))
        case TokenState.GOOD:
            if device.token_fault is not None and not news.alert:
                device = replace(device, token_fault=None)
            if news.environment is not None and news.environment != device.environment:
                device = replace(device, environment=news.environment)
    return Learned(device)


def dropped(device: Device, reason: str, now: Instant, *, alert: bool = False) -> Device:
    """The device without its token, of which a hash remains."""
    if alert:
        return replace(device, alert_token=None)
    fault = TokenFault(
        state=TokenState.DEAD, reason=reason, at=now, token_sha256=token_sha256(device.token)
    )
    return replace(device, token="", token_fault=fault)


def _marked(device: Device, reason: str, now: Instant) -> Device:
    fault = device.token_fault
    if fault is not None and (fault.state, fault.reason) == (TokenState.WRONG_APP, reason):
        return device
    return replace(
        device, token_fault=TokenFault(state=TokenState.WRONG_APP, reason=reason, at=now)
    )


def token_sha256(token: str) -> str:
    """How a token is known after its end."""
    return sha256(token.encode()).hexdigest()


def is_dead(device: Device, token: str) -> bool:
    """Whether this is the token that the device had last, and that has died since."""
    fault = device.token_fault
    return (
        fault is not None
        and fault.state is TokenState.DEAD
        and fault.token_sha256 == token_sha256(token)
    )
