"""Counts of devices and bindings, kept in step with the directory."""

from ..observability.metrics import Metrics
from .changes import Change, DeviceChanged
from .directory import Directory


def count_directory(directory: Directory, metrics: Metrics) -> None:
    """Show the directory's devices and bindings in the metrics, from now on.

    Call it once, when the directory is loaded.
    """

    def on_change(change: Change) -> None:
        if isinstance(change, DeviceChanged):
            if change.old is not None:
                metrics.device_counted(change.old.platform, -1)
            if change.new is not None:
                metrics.device_counted(change.new.platform, 1)

    for account in directory.accounts():
        for device in directory.devices(account.key):
            metrics.device_counted(device.platform, 1)
    metrics.bindings.set_function(directory.binding_count)
    directory.subscribe(on_change)
