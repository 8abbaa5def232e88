"""Secrets in a PUT: omitted keeps, null removes, a password and an HA1 replace each other."""

from collections.abc import Mapping

from ..core.model import Algorithm, AppAuth, Credentials
from ..core.uri import SipUri
from ..errors import InvalidInput
from .account_body import AccountBody, AppAuthBody, Ha1Body


def credentials_of(body: AccountBody, stored: Credentials | None) -> Credentials | None:
    """Toward the PBX. Raises `errors.InvalidInput`."""
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


def app_auth_of(body: AppAuthBody | None, aor: SipUri, stored: AppAuth | None) -> AppAuth | None:
    """What the app proves; None: the PBX credentials. Raises `errors.InvalidInput`."""
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
