"""What the stack tells of a forked request, as the machines that hold requests take it."""

from ..core.events import BranchFailed, CallerLost, ResponseReceived
from ..signaling.facts import BranchResponse, OrderFailed, TransactionLost


def branch_event(
    fact: BranchResponse | TransactionLost | OrderFailed,
) -> ResponseReceived | CallerLost | BranchFailed | None:
    """None: a CANCEL or relay that came too late, and what made it so is on its way."""
    match fact:
        case BranchResponse():
            return ResponseReceived(
                branch=fact.branch,
                response=fact.response,
                status=fact.status,
                reason=fact.reason,
                local=fact.local,
            )
        case TransactionLost():
            return CallerLost(fact.reason)
        case OrderFailed(order="fork"):
            return BranchFailed(branch=fact.branch, reason=fact.reason)
        case OrderFailed():
            return None
