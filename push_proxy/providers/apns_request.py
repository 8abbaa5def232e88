"""One request to APNs as it goes over the wire, and what may come of it but an answer."""

from dataclasses import dataclass, field

from .apns_payload import ApnsMessage


@dataclass(frozen=True, slots=True, kw_only=True)
class ApnsRequest:
    """A message for one token."""

    token: str = field(repr=False)
    """Hexadecimal digits."""
    apns_id: str
    """A UUID, the same when it is sent again: the phone's system shows it once."""
    message: ApnsMessage

    def headers(self, authority: str, bearer: str | None) -> list[tuple[str, str]]:
        """As HTTP/2 wants them; ``bearer``: the provider token, None with a certificate."""
        message = self.message
        fields = [
            (":method", "POST"),
            (":scheme", "https"),
            (":path", f"/3/device/{self.token}"),
            (":authority", authority),
            ("apns-id", self.apns_id),
            ("apns-topic", message.topic),
            ("apns-push-type", message.push_type),
            ("apns-priority", str(message.priority)),
            ("apns-expiration", str(message.expiration)),
            ("content-length", str(len(message.body))),
        ]
        if bearer is not None:
            fields.append(("authorization", f"bearer {bearer}"))
        return fields


class NoAnswer(Exception):
    """Nothing is known of the request: it may have been taken. ``reason`` is bounded."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Unsent(NoAnswer):
    """APNs has surely not taken it: it may be sent again as if it had never left."""


class NoConnection(NoAnswer):
    """There is no connection, and the last try to get one failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApnsTimes:
    """How connections are looked after; seconds."""

    connect_s: float = 2.0
    """Name, TCP and TLS together: within a push's own deadline."""
    ping_s: float = 30.0
    """Without a sign of life for so long: PING."""
    ack_s: float = 5.0
    """Without its answer for so long: dead."""
    silent_s: float = 0.7
    """A request unanswered and nothing heard for so long: PING."""
    silent_ack_s: float = 1.0
    """And so long after that: dead, and its requests go elsewhere."""
    suspect_s: float = 0.4
    """A PING unanswered for so long: no new request."""
    stagger_s: float = 0.2
    """Between two connections that are opened. Opening many at once looks like an attack."""
    backoff_s: float = 0.5
    longest_backoff_s: float = 30.0
    demand_s: float = 1.0
    """A push that waits shortens the back-off to this."""
    patience_s: float = 0.2
    """A push that waits for a free stream so long makes for another connection."""
    elsewhere_s: float = 0.5
    """A push that is sent again waits so long for another connection than the first one's."""
    tick_s: float = 0.1
