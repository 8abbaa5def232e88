"""Several accounts in one app: its lines share one push token.

A token is exclusive: a phone that is handed on must not ring for its old owner. But an app with
two accounts registers both of them with the token that it has. So those of one installation
stay beside each other while both are registered from time to time; one that is not any more
gives way.
"""

from .matching import same_instance
from .model import Device

BEHIND_S = 3600.0
"""So long after the one line the other may be registered again: no binding lasts longer."""


def is_line(device: Device, other: Device, *, told_at: float) -> bool:
    """Whether ``other``, with the same token, is another account of the same app.

    ``told_at``: when ``device`` was last registered before now; now, if never. After hours of
    sleep the lines come back one by one, but they had fallen asleep together.
    """
    return (
        device.by_register
        and other.by_register
        and device.instance_id is not None
        and same_instance(device.instance_id, other.instance_id)
        and other.token_at >= told_at - BEHIND_S
    )
