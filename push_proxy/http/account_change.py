"""From a PUT's body and what is stored to the account that shall be."""

import secrets
from collections.abc import Mapping
from dataclasses import replace

from ..core.ids import AccountId, TenantId
from ..core.model import (
    Account,
    Algorithm,
    AppAuth,
    Credentials,
    RegisterPolicy,
    Ringing,
    Topology,
    WakeOverrides,
)
from ..core.uri import MalformedUri, SipUri
from ..errors import InvalidInput
from ..settings import Settings
from ..settings_types import check_host, check_registrar
from .account_body import AccountBody, AppAuthBody, Ha1Body, WakeBody

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
    credentials = _credentials(body, stored.credentials if stored else None)
    app_auth = stored.app_auth if stored else None
    if "app_auth" in body.model_fields_set:
        app_auth = _app_auth(body.app_auth, aor, app_auth)
    if body.enabled:
        _check_secrets(topology, credentials, app_auth)
    new = Account(
        tenant=tenant,
        account=account,
        aor=aor.aor,
        topology=topology,
        pbx=body.pbx,
        registrar=_host_uri(body.registrar, "registrar"),
        outbound_proxy=_host_uri(body.outbound_proxy, "outbound_proxy"),
        transport=body.transport,
        auth_user=body.auth_user,
        credentials=credentials,
        app_auth=app_auth,
        register=RegisterPolicy(body.register_),
        enabled=body.enabled,
        expires_s=body.expires_s,
        wake=_overrides(body.wake),
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
    for name, value in (("repush_after_s", wake.repush_after_s), ("ack_s", wake.ack_s)):
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


def _credentials(body: AccountBody, stored: Credentials | None) -> Credentials | None:
    given = body.model_fields_set
    if body.password is not None and body.ha1 is not None:
        raise InvalidInput("give password or ha1, not both", field="ha1")
    if body.ha1 is not None:
        if body.realm is None:
            raise InvalidInput("ha1 needs realm: the one it was made for", field="realm")
        return Credentials(ha1=_ha1(body.ha1, "ha1"), realm=body.realm)
    if body.password is not None:
        kept: Credentials | None = Credentials(password=body.password)
    else:
        kept = _kept(stored, removed=given & {"password", "ha1"})
    if body.realm is not None and (kept is None or kept.realm != body.realm):
        raise InvalidInput("realm goes with ha1 alone", field="realm")
    return kept


def _kept(stored: Credentials | None, *, removed: set[str]) -> Credentials | None:
    """What null fields leave of a secret."""
    if stored is None:
        return None
    kind = "password" if stored.password is not None else "ha1"
    return None if kind in removed else stored


def _app_auth(body: AppAuthBody | None, aor: SipUri, stored: AppAuth | None) -> AppAuth | None:
    if body is None:
        return None
    user, realm = body.user or aor.user, body.realm or aor.host
    if body.password is not None and body.ha1 is not None:
        raise InvalidInput("give password or ha1, not both", field="app_auth.ha1")
    if body.password is not None:
        return AppAuth(user=user, realm=realm, credentials=Credentials(password=body.password))
    if body.ha1 is not None:
        ha1 = _ha1(body.ha1, "app_auth.ha1")
        return AppAuth(user=user, realm=realm, credentials=Credentials(ha1=ha1, realm=realm))
    removed = body.model_fields_set & {"password", "ha1"}
    kept = _kept(stored.credentials if stored else None, removed=removed)
    if kept is None:
        raise InvalidInput("app_auth needs password or ha1", field="app_auth.password")
    if kept.ha1 and stored is not None and (stored.user, stored.realm) != (user, realm):
        raise InvalidInput(
            "the kept ha1 was made for another user or realm; give a new one", field="app_auth.ha1"
        )
    return AppAuth(user=user, realm=realm, credentials=kept)


def _ha1(body: Ha1Body, field: str) -> Mapping[Algorithm, str]:
    found = {
        algorithm: value.lower()
        for algorithm, value in ((Algorithm.MD5, body.md5), (Algorithm.SHA256, body.sha256))
        if value is not None
    }
    if not found:
        raise InvalidInput(f"{field} needs MD5, SHA-256, or both", field=field)
    return found


def _overrides(wake: WakeBody) -> WakeOverrides:
    return WakeOverrides(
        deadline_s=wake.deadline_s,
        ringing=None if wake.ringing is None else Ringing(wake.ringing),
        repush_after_s=wake.repush_after_s,
        fresh_s=wake.fresh_s,
        ack_s=wake.ack_s,
    )
