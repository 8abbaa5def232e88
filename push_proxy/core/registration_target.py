"""What an account wants registered, and what its registration looks like from outside."""

from .ids import Instant
from .model import Account, Credentials, RegisterPolicy, Topology
from .own import OwnNames
from .pbx import Pbx, endpoint
from .registration_state import Registration, Target
from .registration_status import RegistrationState, RegistrationStatus
from .trust import escaped_user
from .uri import SipUri


def target_of(
    account: Account, pbx: Pbx | None, own: OwnNames, *, transport: str = "udp"
) -> Target | None:
    """What this account would register; None when it never does (``trunk``, no registrar).

    ``transport`` is how its PBX is reached: it is to call us the same way.
    """
    if account.topology is not Topology.HOLD or pbx is None or pbx.registrar is None:
        return None
    aor = SipUri.parse(account.aor)
    port = own.local_for(endpoint(pbx.registrar).host, transport).port
    by = "" if transport == "udp" else f";transport={transport}"
    host = f"[{own.node_host}]" if ":" in own.node_host else own.node_host
    return Target(
        account=account.key,
        aor=account.aor,
        registrar=pbx.registrar,
        contact=f"sip:{escaped_user(aor)}@{host}:{port}{by};pp={account.contact_token}",
        user=account.auth_user or aor.user,
        credentials=account.credentials or Credentials(),
        expires_s=account.expires_s or pbx.expires_s,
    )


def is_wanted(account: Account, *, has_device: bool) -> bool:
    """Whether it is to be registered now."""
    return account.enabled and (account.register is RegisterPolicy.ALWAYS or has_device)


def status_of(state: Registration, now: Instant) -> RegistrationStatus:
    """For people: where it stands and what they can do."""
    kind = state_of(state, now)
    return RegistrationStatus(
        state=kind,
        last_status=state.last_status,
        last_reason=state.last_reason,
        last_answer_at=state.last_at,
        next_attempt_at=None if state.doing is not None else state.refresh_at,
        expires_at=state.expires_at if state.is_registered(now) else None,
        granted_s=state.granted_s,
        other_contacts=state.others,
        evictions=state.evictions,
        advice=_advice(state, kind),
    )


def state_of(state: Registration, now: Instant) -> RegistrationState:
    """Where it stands."""
    if not state.wanted:
        return RegistrationState.UNUSED
    if state.rejected:
        return RegistrationState.REJECTED
    if state.is_registered(now):
        return RegistrationState.REGISTERED
    return RegistrationState.RETRYING if state.failures else RegistrationState.PENDING


def _advice(state: Registration, kind: RegistrationState) -> str:
    if kind is RegistrationState.REJECTED:
        return _rejected(state)
    if state.failures and state.last_status == 408:
        return "The PBX does not answer: check the registrar's address, port and firewalls."
    if state.failures and state.last_local and state.last_reason.startswith("TLS"):
        return (
            "TLS with the PBX fails (last_reason says why): check its certificate against tls.ca "
            "and tls.server_name of this PBX, and the certificate that we show it."
        )
    if state.failures and state.last_local and "refused" in state.last_reason:
        return (
            "Nothing listens at the registrar's address, port and transport: check that the PBX "
            "runs, and that it takes this transport there."
        )
    if state.failures and state.last_local:
        return "Nothing can be sent to the PBX: check that its name resolves and the network is up."
    if state.failures and kind is RegistrationState.RETRYING:
        return "The PBX refuses for now; it is asked again by itself."
    if state.unlisted:
        return "The PBX does not list our Contact: calls may not reach us; look at its bindings."
    if state.evictions:
        return (
            "The PBX dropped our Contact before its time: another phone may have taken its "
            "place; allow more contacts for this extension."
        )
    if kind is RegistrationState.REGISTERED and state.others:
        return "Other phones are registered on this extension: calls may ring there too."
    return ""


def _rejected(state: Registration) -> str:
    if state.last_status in (401, 407):
        return (
            "The PBX does not accept the credentials: correct auth_user and password (or the "
            "HA1's realm and algorithm) of this account."
        )
    if state.last_status == 404:
        return "The PBX does not know this AOR: create the extension there, or correct aor."
    return (
        "The PBX forbids this registration: check the extension's permissions and its limit of "
        "contacts, then change the account (for example enabled false, then true)."
    )
