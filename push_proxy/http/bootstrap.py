"""The operators' keys at start: configured, stored, or the very first one."""

from ..core.ids import TenantId
from ..ports import ApiKey, Store
from ..settings import Settings
from .callers import Callers, Scope, hashed

FIRST_TENANT = TenantId("default")


def configured_keys(settings: Settings) -> tuple[ApiKey, ...]:
    """The keys in the configuration."""
    return tuple(
        ApiKey(
            name=key.name,
            tenant=TenantId(key.tenant),
            key_sha256=key.key_sha256,
            scopes=frozenset(key.scopes),
        )
        for key in settings.http.api_keys
    )


async def load_keys(callers: Callers, settings: Settings, store: Store, first: str) -> bool:
    """Let the configured and stored keys in. Without any, ``first`` becomes one.

    Returns whether it is one: it is stored hashed, so this is the only time that it can be shown.
    Call it again to reload (SIGHUP). Raises `errors.StoreUnavailable`: then the key may have been
    stored all the same, so try again with the same one.
    """
    keys = (*await store.api_keys(), *configured_keys(settings))
    if not keys:
        made = ApiKey(
            name="first",
            tenant=FIRST_TENANT,
            key_sha256=hashed(first),
            scopes=frozenset(Scope),
        )
        await store.put_api_key(made)
        keys = (made,)
    callers.set_operators(keys)
    return any(key.key_sha256 == hashed(first) for key in keys)


def first_key_text(key: str) -> str:
    """What to print when a first key was made."""
    return (
        f"No API key is configured: made one for the tenant {FIRST_TENANT!r}, with all scopes.\n"
        f"It is shown only now, keep it:\n\n    {key}\n\n"
        f"Use it as: Authorization: Bearer {key}\n"
    )
