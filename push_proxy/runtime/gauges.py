"""Counts of devices and bindings, kept in step with the directory."""

from ..core.model import Device
from ..observability.metrics import Metrics
from .changes import Change, DeviceChanged
from .directory import Directory


def count_directory(directory: Directory, metrics: Metrics) -> None:
    """Show the directory's devices and bindings in the metrics, from now on.

    Call it once, when the directory is loaded.
    """

    def on_change(change: Change) -> None:
        if isinstance(change, DeviceChanged):
            count(change.old, -1)
            count(change.new, 1)

    def count(device: Device | None, difference: int) -> None:
        if device is not None and device.has_target:
            metrics.device_counted(device.platform, difference)

    for account in directory.accounts():
        for device in directory.devices(account.key):
            count(device, 1)
    metrics.bindings.set_function(directory.binding_count)
    directory.subscribe(on_change)
