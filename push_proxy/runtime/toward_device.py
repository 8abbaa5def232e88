"""How a request reaches a registered phone: its Contact, its flow, the proxies on its Path."""

from collections.abc import Iterable

from ..core.binding import route_headers
from ..core.ids import CallId
from ..core.model import Account, Binding
from ..signaling.contract import Rewrite
from .lookup import Way


def toward_device(
    binding: Binding,
    account: Account,
    way: Way,
    *,
    strip: Iterable[str],
    add: tuple[tuple[str, str], ...] = (),
    call: CallId | None = None,
    record_route: bool = True,
) -> Rewrite:
    """The request as the phone gets it: over its flow alone, which is never opened by us.

    ``way``: by what it leaves here (`lookup.Lookup.way`).

    ``strip`` names headers that must not reach it, ``add`` is ours beside the AOR.
    """
    route = route_headers(binding)
    return Rewrite(
        request_uri=binding.contact,
        destination=binding.source,
        local=way.local,
        through=way.through,
        add=(*route, ("P-Called-Party-ID", f"<{account.aor}>"), *add),
        remove=(*strip, "p-called-party-id", *(("route",) if route else ())),
        call=call,
        # Another node finds the flow by it.
        route_key=binding.route_key if record_route or way.through else "",
    )
