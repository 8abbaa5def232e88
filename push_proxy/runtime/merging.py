"""An INVITE that its sender sends once more in another transaction: the call goes on, and once.

A PBX does so when it has tried another way to us (RFC 3263 §4.3), or takes two ways at once.
One of the two transactions is answered 482, as RFC 3261 §8.2.2.2 has it.
"""

from ..core.wake import Live
from ..signaling.contract import Signaling
from ..signaling.facts import RequestReceived


def is_same_request(one: RequestReceived, other: RequestReceived) -> bool:
    """Whether both carry one request. To another Request-URI it is another fork of the call."""
    return (one.call_id, one.from_tag, one.cseq, one.request_uri) == (
        other.call_id,
        other.from_tag,
        other.cseq,
        other.request_uri,
    )


def takes_over(live: Live) -> bool:
    """Whether the newer transaction is to go on with the call.

    Its sender may have given up the older one. But a phone that was rung is rung from there.
    """
    return not live.branches


def refuse(signaling: Signaling, fact: RequestReceived) -> None:
    """This transaction is not the one in which the call goes on."""
    signaling.reply(fact.txn, 482, "Loop Detected")


def catch_up(signaling: Signaling, fact: RequestReceived, live: Live) -> None:
    """Tell the newer transaction what the older one has heard."""
    if live.ringing_told:
        signaling.reply(fact.txn, 180, "Ringing")
    elif live.stored is not None:
        signaling.reply(fact.txn, 100, "Trying")
