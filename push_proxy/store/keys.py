"""Every key in Redis, and how long it lives.

Keys of one account share the hash tag ``{tenant/account}``, those of a tenant ``{tenant}``:
each script touches one tag alone, so that Redis Cluster can run it. What spans accounts is
an index: it is written before what it points to, so that nothing is ever missing from it,
and an entry that points to nothing is skipped by the reader. Indexes can be rebuilt from the
accounts' own keys.

====================================  =======  ==============================================
key                                   type     lives
====================================  =======  ==============================================
``pp:{tenant/account}:account``       hash     until deleted: ``data version aor token``
``pp:{tenant/account}:devices``       hash     until deleted: device -> data
``pp:{tenant/account}:marks``         hash     with devices: device -> version and target
``pp:{tenant/account}:bindings``      hash     until the last one has expired
``pp:{tenant/account}:registration``  string   a week beyond the registration's expiry; in a cluster
                                               its fence goes before it, and stays a day alone
``pp:{tenant/account}:mailbox``       string   a year beyond its last change
``pp:{tenant/account}:held``          hash     a day beyond the last deadline: call -> data
``pp:{tenant/account}:calls``         zset     kept history after the last call: start -> id
``pp:{tenant/account}:records``       hash     as calls: id -> data
``pp:{tenant/account}:sip``           zset     ``recorder.keep_s`` after the last one: start -> id
``pp:{tenant/account}:sip-data``      hash     as sip: id -> until when, messages
``pp:{tenant/account}:missed``        zset     three months after the last one: when -> id
``pp:{tenant/account}:missed-data``   hash     as missed: id -> data
``pp:{tenant/account}:missed-seen``   zset     three months: those that are not to come back
``pp:{tenant/account}:messages``      zset     until the last one has expired: when -> id
``pp:{tenant/account}:messages-*``    zset…    as messages: id -> until, bytes, data
``pp:{tenant/account}:wakes``         hash     with devices: device -> its newest wakes, a line each
``pp:{tenant/account}:app-logs``      hash     a week after the last: device -> a line for each
``pp:{tenant/account}:app-log-data``  hash     as app-logs: device/id -> content
``pp:{tenant/account}:enrolments``    set      until the last code has expired
``pp:{tenant}:accounts``              zset     index, by account id
``pp:{tenant}:calls``                 zset     index, capped by number and time
``pp:{tenant}:sip-call:<hash>``       zset     index, as long as the history
``pp:{held:<node>}``                  zset     index: held INVITEs of a node, with their account
``pp:tenants``                        set      index
``pp:aor:<aor>``                      string   claim: which account owns the AOR
``pp:contact:<token>``                string   claim: which account owns the contact token
``pp:call:<id>``                      string   index, as long as the history
``pp:target:<hash>``                  set      index: devices that have this push token
``pp:not-waking``                     set      index: devices that stopped waking
``pp:enrolment:<hash>``               string   until it expires or is taken
``pp:idempotent:<tenant>:<hash>``     string   as long as the caller asks
``pp:api-keys``                       hash     until deleted
``pp:secret:<name>``                  string   for ever
``pp:life:<n>``                       string   for ever: one name in all, in each part of a cluster
``pp:{event:<webhook>}:due``          zset     two days after the last event: id -> when
``pp:{event:<webhook>}:told``         zset     as due: id -> when it was told
``pp:{event:<webhook>}:events``       hash     as due: id -> data
``pp:{tenant}:dead-letters``          zset     a month beyond the last one: id -> when it died
``pp:{tenant}:dead-letter-data``      hash     as dead-letters: id -> data
``pp:shared:<name>``                  string   as long as the caller asks
``pp:{lease:<shard>}:owner``          string   ``cluster.lease_s`` after the last renewal
``pp:{lease:<shard>}:fence``          string   for ever: fence, and who has it unless released
``pp:node:<id>``                      string   ``cluster.lease_s`` after its last heartbeat
``pp:nodes``                          set      index: ids of nodes, until nothing is left of one
``pp:feed``                           stream   capped: what of which account was written, by whom
``pp:{inbox:<node>}``                 list     ten seconds after the last order to that node
====================================  =======  ==============================================
"""

from hashlib import sha256

from ..core.ids import AccountKey, CallId, DeviceId, TenantId

REGISTRATION_SLACK_S = 7 * 86_400.0
"""A registration's Call-ID and CSeq go on being used after it has lapsed (RFC 3261 §10.2.4)."""

MAILBOX_KEEP_S = 365 * 86_400.0
"""What a PBX said of a mailbox, if it says nothing else: phones would hear it once more."""

FENCE_KEEP_S = 86_400.0
"""No node is paused for longer than that and then goes on with a lease of before."""

HELD_SLACK_S = 86_400.0
"""A node that comes back so late still tells of the calls that it held."""

EXPIRY_SLACK_S = 60.0
"""Readers judge expiry by our clock; Redis removes a little later, in case its clock is ahead."""

TENANT_CALLS = 100_000
"""Calls of one tenant that can be found without naming the account or SIP Call-ID."""

TENANTS = "pp:tenants"
API_KEYS = "pp:api-keys"
NOT_WAKING = "pp:not-waking"
NODES = "pp:nodes"
FEED = "pp:feed"

FEED_LENGTH = 100_000
"""About so many changes are kept: a node that falls further behind reads everything again."""


def account(key: AccountKey) -> str:
    """The account itself."""
    return f"pp:{{{key}}}:account"


def devices(key: AccountKey) -> str:
    """Its devices."""
    return f"pp:{{{key}}}:devices"


def marks(key: AccountKey) -> str:
    """Its devices' versions and push targets, for the scripts."""
    return f"pp:{{{key}}}:marks"


def bindings(key: AccountKey) -> str:
    """Its bindings by device."""
    return f"pp:{{{key}}}:bindings"


def registration(key: AccountKey) -> str:
    """Its registration at the PBX."""
    return f"pp:{{{key}}}:registration"


def mailbox(key: AccountKey) -> str:
    """What its PBX says of its voice mail."""
    return f"pp:{{{key}}}:mailbox"


def held(key: AccountKey) -> str:
    """Its INVITEs without a final response."""
    return f"pp:{{{key}}}:held"


def held_by(node: str) -> str:
    """Index of a node's held INVITEs: one that it had when it died is found by it alone."""
    return f"pp:{{held:{node}}}"


def calls(key: AccountKey) -> str:
    """Its calls in order."""
    return f"pp:{{{key}}}:calls"


def records(key: AccountKey) -> str:
    """Its calls' records."""
    return f"pp:{{{key}}}:records"


def recordings(key: AccountKey) -> tuple[str, str]:
    """The SIP of its calls, in the order that its script expects."""
    place = f"pp:{{{key}}}:sip"
    return place, f"{place}-data"


def missed(key: AccountKey) -> tuple[str, str, str]:
    """Its missed calls, and those seen, in the order that their scripts expect."""
    place = f"pp:{{{key}}}:missed"
    return place, f"{place}-data", f"{place}-seen"


def messages(key: AccountKey) -> tuple[str, str, str, str]:
    """Its accepted MESSAGEs, in the order that their scripts expect."""
    place = f"pp:{{{key}}}:messages"
    return place, f"{place}-until", f"{place}-size", f"{place}-data"


def wakes(key: AccountKey) -> str:
    """Its devices' newest wakes."""
    return f"pp:{{{key}}}:wakes"


def app_logs(key: AccountKey) -> tuple[str, str]:
    """Its apps' logs: what is known of them, and their contents."""
    place = f"pp:{{{key}}}:app-log"
    return f"{place}s", f"{place}-data"


def enrolments(key: AccountKey) -> str:
    """Codes minted for it, so that its deletion removes them."""
    return f"pp:{{{key}}}:enrolments"


def tenant_accounts(tenant: TenantId) -> str:
    """Index of a tenant's accounts."""
    return f"pp:{{{tenant}}}:accounts"


def tenant_calls(tenant: TenantId) -> str:
    """Index of a tenant's calls."""
    return f"pp:{{{tenant}}}:calls"


def sip_call(tenant: TenantId, sip_call_id: str) -> str:
    """Index of the calls with one SIP Call-ID, which strangers choose: hence hashed."""
    return f"pp:{{{tenant}}}:sip-call:{_short_hash(sip_call_id)}"


def aor(text: str) -> str:
    """Claim of an AOR."""
    return f"pp:aor:{text}"


def contact(token: str) -> str:
    """Claim of a contact token."""
    return f"pp:contact:{token}"


def call(call_id: CallId) -> str:
    """Index: the account of a call."""
    return f"pp:call:{call_id}"


def target(target_hash: str) -> str:
    """Index: the devices with one push token (as a keyed hash, never the token)."""
    return f"pp:target:{target_hash}"


def enrolment(code_sha256: str) -> str:
    """A one-time code."""
    return f"pp:enrolment:{code_sha256}"


def idempotent(tenant: TenantId, key: str) -> str:
    """A response kept for a repeated request."""
    return f"pp:idempotent:{tenant}:{_short_hash(key)}"


def secret(name: str) -> str:
    """A service-wide secret."""
    return f"pp:secret:{name}"


def life(number: int) -> str:
    """One of the marks by which a store is known to be the same and whole."""
    return f"pp:life:{number}"


def shared(name: str) -> str:
    """A value that all nodes have in common for a time."""
    return f"pp:shared:{name}"


def node(name: str) -> str:
    """A node that lives."""
    return f"pp:node:{name}"


def inbox(name: str) -> str:
    """Orders to a node, and answers to its own."""
    return f"pp:{{inbox:{name}}}"


def lease(shard: int) -> tuple[str, str]:
    """Who holds a shard, and its fence, in the order that the scripts expect."""
    place = f"pp:{{lease:{shard}}}"
    return f"{place}:owner", f"{place}:fence"


def outbox(webhook: str) -> tuple[str, str, str]:
    """Events for one webhook, in the order that their scripts expect."""
    place = f"pp:{{event:{webhook}}}"
    return f"{place}:due", f"{place}:told", f"{place}:events"


def dead_letters(tenant: TenantId) -> tuple[str, str]:
    """A tenant's dead letters, in the order that their scripts expect."""
    return f"pp:{{{tenant}}}:dead-letters", f"pp:{{{tenant}}}:dead-letter-data"


def member(key: AccountKey, device: DeviceId | bytes) -> str:
    """How an index names a device."""
    return f"{key} {device.decode() if isinstance(device, bytes) else device}"


def of_member(member: bytes) -> tuple[AccountKey, DeviceId]:
    """The device that an index names."""
    key, _, device = member.decode().partition(" ")
    return AccountKey(key), DeviceId(device)


def with_device(key: AccountKey) -> tuple[str, ...]:
    """All keys that hold something of a device, in the order that ``delete_device.lua`` expects."""
    return devices(key), marks(key), bindings(key), wakes(key), *app_logs(key)


def all_of_account(key: AccountKey) -> tuple[str, ...]:
    """All keys of one account, in the order that ``delete_account.lua`` expects."""
    return (
        account(key),
        devices(key),
        marks(key),
        bindings(key),
        registration(key),
        held(key),
        calls(key),
        records(key),
        enrolments(key),
        mailbox(key),
        *recordings(key),
        *missed(key),
        wakes(key),
        *app_logs(key),
        *messages(key),
    )


def _short_hash(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:32]
