"""An account as the API shows it: never a secret."""

from typing import Literal

from pydantic import ConfigDict, Field

from ..core.message_summary import Summary
from ..core.model import Account, Credentials
from ..core.registration_status import RegistrationState, RegistrationStatus
from ..runtime.pbx_watch import PbxState
from .account_body import WakeBody
from .device_status import DeviceStatus
from .fields import Timestamp, View, maybe_rfc3339, rfc3339
from .policy_body import PolicyBody, shown


class WakeView(View):
    """The account's own wake settings; null is the service's."""

    deadline_s: float | None
    ringing: str | None
    repush_after_s: float | None
    fresh_s: float | None
    ack_s: float | None
    late_invite_s: float | None
    ring_mode: str | None
    together_s: float | None


class AppAuthView(View):
    """What the app proves, without the secret."""

    user: str
    realm: str
    secret: Literal["password", "ha1"] | None


class RegistrationView(View):
    """Our registration at the PBX."""

    state: RegistrationState
    last_status: int | None = Field(description="The PBX's last answer; null: none yet.")
    last_reason: str
    last_answer_at: Timestamp | None
    next_attempt_at: Timestamp | None = Field(description="The next refresh or retry.")
    expires_at: Timestamp | None
    granted_s: int | None = Field(description="Lifetime that the PBX granted last, seconds.")
    other_contacts: list[str] = Field(description="Other phones seen on this extension.")
    evictions: int = Field(description="How often the PBX dropped us before the time.")
    advice: str = Field(description="What the operator can do; empty: nothing.")


class VoicemailView(View):
    """What the PBX says of the account's mailbox (RFC 3842)."""

    waiting: bool
    new: int | None = Field(
        description="Voice messages not heard yet; null: the PBX says no number."
    )
    old: int | None


class PbxView(View):
    """The PBX itself, as our own OPTIONS find it."""

    reachable: bool | None = Field(
        description="One of its servers answers; null: not known yet, or it is not asked."
    )
    servers: dict[str, bool | None] = Field(
        description="Each server that was found, and whether it answers.",
        examples=[{"tls:192.0.2.10:5061": True}],
    )
    reason: str = Field(
        description="Why none of its servers answers; empty while one does, or nothing is known.",
        examples=["TLS: the certificate names other.example.com, not pbx.example.com"],
    )


class AccountStatus(View):
    """How the account does."""

    registration: RegistrationView
    pbx: PbxView | None = Field(
        None,
        description="Null: where it is is not known, it only calls us, or in lists of accounts.",
    )
    voicemail: VoicemailView | None = Field(
        description="Null: the PBX has said nothing, or in lists of accounts."
    )
    missed_calls: int | None = Field(
        None,
        description="How many nobody has seen; null: the store is away, or in lists of accounts.",
    )
    devices: list[DeviceStatus] | None = Field(description="Null in lists of accounts.")


class AccountView(View):
    """An account."""

    model_config = ConfigDict(frozen=True, serialize_by_alias=True, validate_by_name=True)

    account: str
    aor: str
    topology: str
    pbx: str | None
    registrar: str | None
    outbound_proxy: str | None
    transport: str | None = Field(description="Toward `registrar`; a configured `pbx` has its own.")
    auth_user: str | None
    secret: Literal["password", "ha1"] | None = Field(
        description="What is kept toward the PBX; the secret itself is never shown."
    )
    realm: str | None
    app_auth: AppAuthView | None
    register_: str = Field(alias="register")
    enabled: bool
    expires_s: int | None
    wake: WakeView
    policy: PolicyBody
    language: str | None
    region: str | None
    created_at: Timestamp
    updated_at: Timestamp
    status: AccountStatus


class AccountList(View):
    """A page of accounts, by name."""

    accounts: list[AccountView]
    next_cursor: str | None


def view(
    account: Account,
    registration: RegistrationStatus,
    devices: list[DeviceStatus] | None,
    *,
    voicemail: Summary | None = None,
    missed_calls: int | None = None,
    pbx: PbxState | None = None,
) -> AccountView:
    """The account and how it does."""
    app_auth, wake = account.app_auth, account.wake
    return AccountView(
        account=account.account,
        aor=account.aor,
        topology=account.topology,
        pbx=account.pbx,
        registrar=account.registrar,
        outbound_proxy=account.outbound_proxy,
        transport=account.transport,
        auth_user=account.auth_user,
        secret=_kind(account.credentials),
        realm=account.credentials.realm if account.credentials else None,
        app_auth=None
        if app_auth is None
        else AppAuthView(
            user=app_auth.user, realm=app_auth.realm, secret=_kind(app_auth.credentials)
        ),
        register_=account.register,
        enabled=account.enabled,
        expires_s=account.expires_s,
        wake=WakeView(
            deadline_s=wake.deadline_s,
            ringing=wake.ringing,
            repush_after_s=wake.repush_after_s,
            fresh_s=wake.fresh_s,
            ack_s=wake.ack_s,
            late_invite_s=wake.late_invite_s,
            ring_mode=wake.ring_mode,
            together_s=wake.together_s,
        ),
        policy=shown(account.policy),
        language=account.language,
        region=account.region,
        created_at=rfc3339(account.created_at),
        updated_at=rfc3339(account.updated_at),
        status=AccountStatus(
            registration=_registration(registration),
            pbx=None if pbx is None else _pbx(pbx),
            voicemail=None
            if voicemail is None
            else VoicemailView(waiting=voicemail.waiting, new=voicemail.new, old=voicemail.old),
            missed_calls=missed_calls,
            devices=devices,
        ),
    )


def export_row(account: Account) -> dict[str, object]:
    """The account as a line that an import takes; secrets are left out (an import keeps them)."""
    row: dict[str, object] = {
        "account": account.account,
        "aor": account.aor,
        "topology": account.topology,
        "pbx": account.pbx,
        "registrar": account.registrar,
        "outbound_proxy": account.outbound_proxy,
        "transport": account.transport,
        "auth_user": account.auth_user,
        "register": account.register,
        "enabled": account.enabled,
        "expires_s": account.expires_s,
        "wake": {
            name: value
            for name in WakeBody.model_fields
            if (value := getattr(account.wake, name)) is not None
        },
        "policy": shown(account.policy).model_dump(exclude_defaults=True),
        "language": account.language,
        "region": account.region,
    }
    return {name: value for name, value in row.items() if value is not None and value != {}}


def _kind(credentials: Credentials | None) -> Literal["password", "ha1"] | None:
    if credentials is None:
        return None
    return "password" if credentials.password is not None else "ha1"


def _pbx(state: PbxState) -> PbxView:
    servers = {str(address): reachable for address, reachable in state.servers.items()}
    return PbxView(reachable=state.reachable, servers=servers, reason=state.reason)


def _registration(status: RegistrationStatus) -> RegistrationView:
    return RegistrationView(
        state=status.state,
        last_status=status.last_status,
        last_reason=status.last_reason,
        last_answer_at=maybe_rfc3339(status.last_answer_at),
        next_attempt_at=maybe_rfc3339(status.next_attempt_at),
        expires_at=maybe_rfc3339(status.expires_at),
        granted_s=status.granted_s,
        other_contacts=list(status.other_contacts),
        evictions=status.evictions,
        advice=status.advice,
    )
