"""Who may ask for what: no open relay, and nothing learnt from a refusal (docs/architecture.md)."""

from collections.abc import Callable, Iterable, Sequence

from .digest import digest_params, unescape
from .message import Message
from .model import Account, Topology
from .nonces import Asker
from .own import OwnNames
from .uri import MalformedUri, NameAddr, SipUri

NEVER_FROM_APPS = (
    "p-asserted-identity",
    "remote-party-id",
    "diversion",
    "history-info",
)
"""What only a trusted network may assert (RFC 3325 §5, RFC 5806, RFC 7044)."""
OURS = "x-push-"

AccountsByUser = Callable[[str], Sequence[Account]]


def escaped_user(uri: SipUri) -> str:
    """The user part as it stands in a canonical AOR."""
    return uri.aor.partition(":")[2].rpartition("@")[0]


def app_asker(account: Account, host: str) -> Asker | None:
    """What this account's apps have to prove, or None when there is nothing to prove it with.

    ``app_auth``, else the PBX credentials in their realm (an HA1's, or the AOR's host).
    """
    if account.app_auth is not None:
        auth = account.app_auth
        return Asker(user=auth.user, realm=auth.realm, credentials=auth.credentials, host=host)
    credentials = account.credentials
    if credentials is None or (credentials.password is None and not credentials.ha1):
        return None
    aor = SipUri.parse(account.aor)
    return Asker(
        user=account.auth_user or aor.user,
        realm=credentials.realm or aor.host,
        credentials=credentials,
        host=host,
    )


def claimed_account(
    uri: str,
    authorization: Iterable[str],
    *,
    by_aor: Callable[[str], Account | None],
    by_user: AccountsByUser,
    is_us: Callable[[str], bool],
) -> Account | None:
    """The account that an app means with ``uri`` (To of REGISTER, From of others).

    An app may use our own address for its domain; then the user part counts, and where
    several accounts share it, the user name and realm that the app proves.
    """
    try:
        parsed = SipUri.parse(uri)
    except MalformedUri:
        return None
    account = by_aor(parsed.aor)
    if account is not None or not is_us(parsed.host):
        return account
    candidates = by_user(escaped_user(parsed))
    if len(candidates) == 1:
        return candidates[0]
    names = {
        (unescape(params.get("username", "")), unescape(params.get("realm", "")))
        for params in map(digest_params, authorization)
    }
    meant = [
        candidate
        for candidate in candidates
        if (asker := app_asker(candidate, "")) is not None and (asker.user, asker.realm) in names
    ]
    return meant[0] if len(meant) == 1 else None


def called_account(
    request_uri: str,
    to_uri: str,
    *,
    by_contact_token: Callable[[str], Account | None],
    by_user: AccountsByUser,
    serves: Callable[[Account], bool],
) -> Account | None:
    """The account that a PBX's request is for, among those that this PBX ``serves``.

    By the ``pp`` token of our Contact, else by the Request-URI's user, in ``trunk`` also by
    To's: PBXs rewrite. Users of several domains on one PBX are told apart by the domain.
    """
    for text, trunk_only in ((request_uri, False), (to_uri, True)):
        try:
            uri = SipUri.parse(text)
        except MalformedUri:
            continue
        token = uri.params.get("pp")
        named = by_contact_token(token) if token else None
        if named is not None and not trunk_only and serves(named):
            return named
        served = [
            account
            for account in by_user(escaped_user(uri))
            if serves(account) and (not trunk_only or account.topology is Topology.TRUNK)
        ]
        if (account := _one(served, {uri.aor, _aor(to_uri)})) is not None:
            return account
    return None


def is_from(account: Account, from_uri: str, *, is_us: Callable[[str], bool]) -> bool:
    """Whether a request's From is the account (its AOR, or its user at our own address)."""
    try:
        uri = SipUri.parse(from_uri)
        own = SipUri.parse(account.aor)
    except MalformedUri:
        return False
    return uri.aor == account.aor or (uri.user == own.user and is_us(uri.host))


def foreign_routes(message: Message, own: OwnNames) -> list[str]:
    """Route values of an app's request that name somebody else: it may not choose the way."""
    return [value for value in message.values("route") if not _names_us(value, own)]


def strip_from_app(message: Message) -> tuple[str, ...]:
    """Headers of an app's request that must not reach the PBX."""
    return tuple(
        name for name in message.headers if name in NEVER_FROM_APPS or name.startswith(OURS)
    )


def strip_toward_app(message: Message) -> tuple[str, ...]:
    """Headers of a PBX's request that must not reach the app.

    P-Asserted-Identity passes unless the caller asked for privacy (RFC 3325 §9.3); names of
    ours may come from us alone.
    """
    ours = tuple(name for name in message.headers if name.startswith(OURS))
    return (*ours, "p-asserted-identity") if wants_privacy(message) else ours


def wants_privacy(message: Message) -> bool:
    """Whether the caller's identity must be kept back (``Privacy: id``, RFC 3325 §9.3)."""
    tokens = (part for line in message.all("privacy") for part in line.replace(",", ";").split(";"))
    return any(token.strip().lower() == "id" for token in tokens)


def other_authorizations(message: Message, realm: str) -> list[str]:
    """Proxy-Authorization lines that are not for us: they go on to the PBX."""
    return [
        value
        for value in message.all("proxy-authorization")
        if unescape(digest_params(value).get("realm", "")) != realm
    ]


def _one(accounts: list[Account], aors: set[str]) -> Account | None:
    if len(accounts) > 1:
        accounts = [account for account in accounts if account.aor in aors]
    return accounts[0] if len(accounts) == 1 else None


def _aor(text: str) -> str:
    try:
        return SipUri.parse(text).aor
    except MalformedUri:
        return ""


def _names_us(route: str, own: OwnNames) -> bool:
    try:
        uri = NameAddr.parse(route).sip()
    except MalformedUri:
        return False
    return own.is_ours(uri.host, uri.port)
