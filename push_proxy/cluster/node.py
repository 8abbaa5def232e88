"""What a node says of itself to the others."""

from dataclasses import dataclass
from enum import StrEnum

from ..core.ids import Instant
from ..core.model import Address

_NEVER = Instant(0.0)


class NodeState(StrEnum):
    """Whether a node takes new work."""

    STARTING = "starting"
    """It lives, and takes no accounts yet: they stay where they are."""
    READY = "ready"
    DRAINING = "draining"
    """It is about to stop: others take its accounts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRecord:
    """One life of a node, as it is kept in the store while it renews it."""

    id: str
    incarnation: str
    """Made anew at each start: tells a node from its former life."""
    sip: Address
    """Where other nodes reach its SIP."""
    state: NodeState = NodeState.READY
    started_at: Instant = _NEVER
    waiting: int = 0
    """Calls there that have no final response yet."""
    at: Instant = _NEVER
    """Its own clock at the last heartbeat."""
    version: str = ""
