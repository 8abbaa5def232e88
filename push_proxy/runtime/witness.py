"""Gathers what is known of the device that decided a call, at the moment of the decision."""

from collections.abc import Callable

from ..core.evidence import Evidence, WakesBefore
from ..core.ids import AccountKey, DeviceId
from ..core.model import CallRecord, Device, Direction
from ..core.registration_status import RegistrationStatus
from ..core.wake_health import Standing, WakeSummary
from .directory import Directory

_NO_WAKES = WakeSummary()


class Witness:
    """Asks everybody who knows something; all of them answer from memory."""

    def __init__(
        self,
        *,
        directory: Directory,
        registration: Callable[[AccountKey], RegistrationStatus],
        wakes: Callable[[AccountKey, DeviceId], WakeSummary] = lambda _, __: _NO_WAKES,
    ) -> None:
        """``registration``: an account's at its PBX; ``wakes``: how a device's have gone."""
        self._directory = directory
        self._registration = registration
        self._wakes = wakes

    def evidence(self, record: CallRecord) -> Evidence:
        """Of a call that has just got its outcome."""
        status = self._registration(record.account)
        name = record.outcome.device if record.outcome else None
        if name is None and record.direction is Direction.INCOMING:
            name = self._only_device(record.account)
        known = Evidence(
            device=name,
            registration=status.state.value,
            other_contacts=len(status.other_contacts),
            evictions=status.evictions,
        )
        device = None if name is None else self._directory.device(record.account, name)
        if device is None:
            return known
        return _with_device(known, device, wakes=self._wakes(record.account, device.device))

    def _only_device(self, account: AccountKey) -> DeviceId | None:
        devices = self._directory.devices(account)
        return devices[0].device if len(devices) == 1 else None


def _with_device(known: Evidence, device: Device, *, wakes: WakeSummary) -> Evidence:
    fault = device.token_fault
    return Evidence(
        device=known.device,
        provider=device.provider,
        platform=device.platform,
        vendor=device.vendor,
        os_version=device.os_version,
        install_source=device.install_source,
        permissions={
            name: allowed for name, allowed in device.permissions.items() if allowed is not None
        },
        token_state="" if fault is None else fault.state.value,
        token_reason="" if fault is None else fault.reason,
        registration=known.registration,
        other_contacts=known.other_contacts,
        evictions=known.evictions,
        wakes=WakesBefore(
            failed_in_a_row=wakes.failed_in_a_row, proven=wakes.standing is not Standing.NEW
        ),
    )
