"""INVITEs for calls that are over, to phones that woke too late.

An iPhone shows the call at its VoIP push, before any SIP. One that registers after the end
still shows it, and only SIP closes it: the INVITE, and CANCEL with what became of the call.
"""

from itertools import count

from ..core.ids import CallId
from ..core.message import parse
from ..core.model import Account, Binding
from ..core.uri import NameAddr
from ..signaling.contract import Signaling
from ..signaling.facts import RequestReceived
from .lookup import Way
from .toward_device import toward_device

_FIRST_REQUEST = 1 << 61
_PASSED_ON = (
    "Contact",
    "Content-Type",
    "Supported",
    "Allow",
    "P-Asserted-Identity",
    "Privacy",
    "User-Agent",
)


class LateInvites:
    """Sends them; what the phone answers changes nothing any more."""

    def __init__(self, signaling: Signaling) -> None:
        self._signaling = signaling
        self._numbers = count(_FIRST_REQUEST)

    def send(
        self,
        invite: RequestReceived,
        account: Account,
        binding: Binding,
        way: Way,
        *,
        call: CallId,
        strip: tuple[str, ...],
        reason: str,
    ) -> None:
        """The call's INVITE anew, on its own, toward this binding; ``reason`` for its CANCEL."""
        message = parse(invite.raw)
        hop = toward_device(binding, account, way, strip=strip, add=(("X-Push-ID", call),))
        passed_on = tuple(
            (name, value)
            for name in _PASSED_ON
            if name.lower() not in strip
            for value in message.all(name)
        )
        self._signaling.request(
            next(self._numbers),
            method="INVITE",
            request_uri=hop.request_uri,
            from_=message.first("from") or "",
            to=f"<{NameAddr.parse(message.first('to') or '').uri}>",
            call_id=invite.call_id,
            cseq=invite.cseq,
            headers=(*passed_on, *hop.add),
            body=message.body,
            destination=hop.destination,
            local=hop.local,
            connect=False,
            over=reason,
            through=hop.through,
            route_key=hop.route_key if hop.through else "",
        )
