"""How the parts that carry messages and voice mail are put together."""

from dataclasses import dataclass

from .assembly_cluster import Cluster
from .cluster.feed import NoFeed
from .cluster.once import Once
from .cluster_ports import FeedKind
from .core.own import OwnNames
from .observability.metrics import Metrics
from .ports import Store
from .runtime.alert_pushes import AlertPushes
from .runtime.clock import TimerClock
from .runtime.directory import Directory
from .runtime.kept_messages import KeptMessages
from .runtime.live_message import MessageMeans
from .runtime.mailboxes import Mailboxes
from .runtime.message_carrier import MessageCarrier
from .runtime.messages import Messages
from .runtime.pusher import Pusher
from .runtime.voicemail_pushes import VoicemailPushes
from .settings import Settings
from .signaling.contract import Signaling


@dataclass(frozen=True, slots=True, kw_only=True)
class MessagePath:
    """What becomes of MESSAGEs, and of what PBXs say about voice mail."""

    messages: Messages
    mailboxes: Mailboxes
    pushes: AlertPushes

    async def aclose(self) -> None:
        """Stop; what is kept stays kept."""
        await self.mailboxes.aclose()
        await self.messages.aclose()
        await self.pushes.aclose()


def open_message_path(  # noqa: PLR0913 - its collaborators
    settings: Settings,
    *,
    signaling: Signaling,
    directory: Directory,
    store: Store,
    clock: TimerClock,
    metrics: Metrics,
    pusher: Pusher,
    own: OwnNames,
    cluster: Cluster | None = None,
) -> MessagePath:
    """Connect them; from now on they follow who registers."""
    feed, once = (cluster.feed, cluster.once()) if cluster is not None else (NoFeed(), Once())
    pushes = AlertPushes(pusher)
    voicemail = VoicemailPushes(directory=directory, pusher=pusher, pushes=pushes, clock=clock)
    mailboxes = Mailboxes(
        signaling=signaling,
        directory=directory,
        store=store,
        clock=clock,
        own=own,
        pushes=voicemail,
        news=feed,
    )
    feed.listen(FeedKind.MAILBOX, mailboxes.changed_elsewhere)
    mailboxes.start()
    means = MessageMeans(
        signaling=signaling, directory=directory, pusher=pusher, pushes=pushes, clock=clock
    )
    wake = settings.wake.settings()
    carrier = MessageCarrier(
        means=means,
        store=store,
        metrics=metrics,
        wake=wake,
        news=feed,
        once=once,
    )
    feed.listen(FeedKind.MESSAGE, carrier.kept_elsewhere)
    messages = Messages(
        means=means,
        kept=KeptMessages(means=means, store=store, carrier=carrier, metrics=metrics),
        metrics=metrics,
        rules=settings.messages.rules(),
        wake=wake,
    )
    messages.start()
    return MessagePath(messages=messages, mailboxes=mailboxes, pushes=pushes)
