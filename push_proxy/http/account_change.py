"""From a PUT's body and what is stored to the account that shall be."""

import secrets
from dataclasses import replace

from ..core.ids import AccountId, TenantId
from ..core.model import (
    Account,
    AppAuth,
    Credentials,
    RegisterPolicy,
    Ringing,
    RingMode,
    Topology,
    WakeOverrides,
)
from ..core.uri import MalformedUri, SipUri
from ..errors import InvalidInput
from ..settings import Settings
from ..settings_types import check_host, check_registrar
from .account_body import AccountBody, WakeBody
from .account_secrets import app_auth_of, credentials_of
from .policy_body import policy_of

_TOKEN_BYTES = 8


def changed(
    body: AccountBody,
    *,
    tenant: TenantId,
    account: AccountId,
    stored: Account | None,
    settings: Settings,
    now: float,
) -> Account:
    """The account after this PUT; ``stored`` itself when nothing changes.

    Raises `errors.InvalidInput` that names the field.
    """
    aor = _aor(body.aor)
    topology = Topology(body.topology)
    _check_pbx(body, settings)
    _check_wake(body.wake, settings)
    registrar = _host_uri(body.registrar, "registrar")
    outbound_proxy = _host_uri(body.outbound_proxy, "outbound_proxy")
    credentials = credentials_of(body, stored.credentials if stored else None)
    app_auth = stored.app_auth if stored else None
    if "app_auth" in body.model_fields_set:
        app_auth = app_auth_of(body.app_auth, aor, app_auth)
    if body.enabled:
        _check_secrets(topology, credentials, app_auth)
    new = Account(
        tenant=tenant,
        account=account,
        aor=aor.aor,
        topology=topology,
        pbx=body.pbx,
        registrar=registrar,
        outbound_proxy=outbound_proxy,
        transport=_transport(body, registrar=registrar, outbound_proxy=outbound_proxy),
        auth_user=body.auth_user,
        credentials=credentials,
        app_auth=app_auth,
        register=RegisterPolicy(body.register_),
        enabled=body.enabled,
        expires_s=body.expires_s,
        wake=_overrides(body.wake),
        policy=policy_of(body.policy, aor.aor),
        language=body.language,
        region=body.region,
        contact_token=stored.contact_token if stored else secrets.token_hex(_TOKEN_BYTES),
        created_at=stored.created_at if stored else now,
        updated_at=stored.updated_at if stored else now,
        version=stored.version if stored else 1,
    )
    if stored is None or new == stored:
        return stored or new
    return replace(new, updated_at=now, version=stored.version + 1)


def _aor(text: str) -> SipUri:
    try:
        uri = SipUri.parse(text)
        if uri.scheme != "sip" or not uri.user:
            raise InvalidInput("aor must be sip:user@host", field="aor")
        if uri.port is not None or uri.params or uri.headers or uri.password is not None:
            raise InvalidInput(
                "aor must be sip:user@host, without port and parameters; the PBX's port belongs "
                "into registrar",
                field="aor",
            )
        if not uri.user.isprintable():
            raise InvalidInput("aor: its user part holds control characters", field="aor")
        check_host(uri.host)
    except (MalformedUri, ValueError) as error:
        raise InvalidInput(f"aor must be sip:user@host ({error})", field="aor") from None
    return uri


def _host_uri(text: str | None, field: str) -> str | None:
    try:
        return None if text is None else check_registrar(text)
    except ValueError as error:
        raise InvalidInput(f"{field}: {error}", field=field) from None


def _transport(
    body: AccountBody, *, registrar: str | None, outbound_proxy: str | None
) -> str | None:
    """How the account's next hop is reached: its URI and ``transport`` must agree."""
    if body.pbx is not None:
        if body.transport not in {None, "udp"}:
            raise InvalidInput(
                f"transport goes with registrar; set pbxes.{body.pbx}.transport", field="transport"
            )
        return None
    hop = outbound_proxy or registrar
    said = "" if hop is None else SipUri.parse(hop).params.get("transport", "")
    if body.transport and said and body.transport != said:
        raise InvalidInput(
            f"transport is {body.transport}, but {hop} says {said}", field="transport"
        )
    return body.transport or said or None


def _check_pbx(body: AccountBody, settings: Settings) -> None:
    if (body.pbx is None) == (body.registrar is None):
        raise InvalidInput(
            "give either pbx (the name of a configured one) or registrar (sip:host)",
            field="pbx" if body.pbx else "registrar",
        )
    if body.pbx is not None and body.outbound_proxy is not None:
        raise InvalidInput("outbound_proxy goes with registrar, not with pbx", field="pbx")
    if body.pbx is not None and body.pbx not in settings.pbxes:
        known = ", ".join(sorted(settings.pbxes)) or "none"
        raise InvalidInput(
            f"no PBX {body.pbx!r} is configured (pbxes: {known}); add it there, or give registrar",
            field="pbx",
        )
    if (
        body.pbx is not None
        and Topology(body.topology) is Topology.HOLD
        and settings.pbxes[body.pbx].registrar is None
    ):
        raise InvalidInput(
            f"pbxes.{body.pbx} has no registrar, so there is nowhere to register; "
            "add one there, or use topology trunk",
            field="pbx",
        )


def _check_wake(wake: WakeBody, settings: Settings) -> None:
    deadline_s = wake.deadline_s or settings.wake.deadline_s
    times = {
        "repush_after_s": wake.repush_after_s,
        "ack_s": wake.ack_s,
        "together_s": wake.together_s,
    }
    for name, value in times.items():
        if value is not None and value >= deadline_s:
            raise InvalidInput(
                f"wake.{name} ({value:g}) never comes before the deadline ({deadline_s:g})",
                field=f"wake.{name}",
            )


def _check_secrets(
    topology: Topology, credentials: Credentials | None, app_auth: AppAuth | None
) -> None:
    if topology is Topology.TRUNK and app_auth is None:
        raise InvalidInput(
            "topology trunk needs app_auth: without PBX credentials the app has nothing to prove",
            field="app_auth",
        )
    if topology is Topology.HOLD and credentials is None:
        raise InvalidInput(
            "topology hold needs password or ha1, to register at the PBX (or set enabled to "
            "false to stage the account)",
            field="password",
        )


def _overrides(wake: WakeBody) -> WakeOverrides:
    return WakeOverrides(
        deadline_s=wake.deadline_s,
        ringing=None if wake.ringing is None else Ringing(wake.ringing),
        repush_after_s=wake.repush_after_s,
        fresh_s=wake.fresh_s,
        ack_s=wake.ack_s,
        late_invite_s=wake.late_invite_s,
        ring_mode=None if wake.ring_mode is None else RingMode(wake.ring_mode),
        together_s=wake.together_s,
    )
