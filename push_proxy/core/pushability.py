"""What a REGISTER says of pushes, Contact by Contact, and what is answered (RFC 8599 §5.6.1)."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from .announcing import announced, withdrawn
from .feature_caps import PushCaps, feature_caps, refreshes_by_itself_s
from .ids import AccountKey, DeviceId, Instant
from .matching import route_key
from .model import Binding, Device
from .purr import purr
from .push_params import PushParams, PushServices, PushTarget, read_push_params
from .register import BadRegister, Contact
from .uri import SipUri

_NOT_SUPPORTED = 555, "Push Notification Service Not Supported"


@dataclass(slots=True, kw_only=True)
class Pushability:
    """Gathers it for one REGISTER; nothing holds before its 2xx."""

    services: PushServices
    account: AccountKey
    devices: Sequence[Device]
    now: Instant
    caps: list[PushCaps] = field(default_factory=list)
    announced: dict[DeviceId, Device] = field(default_factory=dict)
    confirmed: list[DeviceId] = field(default_factory=list)
    left: set[DeviceId] = field(default_factory=set)
    """Devices whose phones have unregistered."""

    def target(self, contact: Contact) -> PushTarget | None:
        """Where the Contact wants its pushes, if we can send them there."""
        return None if contact.push is None else self.services.target(contact.push)

    def settle(
        self,
        contact: Contact,
        target: PushTarget | None,
        name: DeviceId,
        *,
        seconds: int,
        refreshed: Binding | None,
    ) -> bool:
        """Decide for a Contact that is bound as ``name``; True: its pushes are ours to send.

        ``refreshed`` is its binding so far, by the same Call-ID.

        Raises `register.BadRegister` with 555, unless we can push to the device all the same.
        """
        device = next((each for each in self.devices if each.device == name), None)
        if target is None:
            self._without_target(contact, device)
            return False
        new = announced(
            device,
            target,
            account=self.account,
            name=name,
            instance=contact.instance,
            said_before=None if refreshed is None else _said(refreshed),
            now=self.now,
        )
        if new is None:
            return False
        if new == device:
            self.confirmed.append(name)
        else:
            self.announced[name] = new
        self.caps.append(self._granted(contact, target, name, seconds))
        return True

    def _granted(
        self, contact: Contact, target: PushTarget, name: DeviceId, seconds: int
    ) -> PushCaps:
        key = self.services.purr_key
        return PushCaps(
            service=target.named,
            refreshes_s=refreshes_by_itself_s(seconds) if contact.refreshes_itself else None,
            purr=purr(key, route_key(self.account, name), self.now) if key else "",
            vapid=self.services.vapid(target.provider, target.app_id),
        )

    def _without_target(self, contact: Contact, device: Device | None) -> None:
        asked = contact.push
        if asked is not None and asked.is_query:
            answer = self.services.answering(asked)
            self.caps += [
                PushCaps(service=service, vapid=self.services.vapid(service, None))
                for service in answer
            ]
            if asked.named and not answer:
                self._refuse(device)
        elif asked is not None:
            if not asked.is_legacy:
                self._refuse(device)
            return
        if device is not None and device.by_register and device.has_target:
            # It registers without a push target, so it wants no pushes any more (§4.1.2).
            self.announced[device.device] = withdrawn(device, self.now)

    def _refuse(self, device: Device | None) -> None:
        if not self.services.names:
            return  # as a registrar that does not know RFC 8599: silence says so
        if device is None or not device.has_target:
            caps = feature_caps(PushCaps(service=name) for name in self.services.names)
            raise BadRegister(*_NOT_SUPPORTED, *caps)


def _said(binding: Binding) -> PushParams:
    said = read_push_params(SipUri.parse(binding.contact).params, {})
    return said or PushParams(named="", provider="")
