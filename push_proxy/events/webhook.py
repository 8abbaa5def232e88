"""One operator's system that is told of events."""

from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlsplit

from ..core.ids import TenantId, split_account_key
from ..core.notices import Notice, NoticeType


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """``events.webhooks[]`` with its key read."""

    url: str = field(repr=False)
    hmac_key: bytes | None = field(default=None, repr=False)
    """None: not signed."""
    types: frozenset[NoticeType] = frozenset(NoticeType)
    tenant: TenantId | None = None
    """Only this tenant's events; None: all."""
    allow_private: bool = False
    ca_file: Path | None = None

    @property
    def key(self) -> str:
        """Names its outbox: the same after a restart, and while url and tenant stay."""
        return sha256(f"{self.tenant or ''} {self.url}".encode()).hexdigest()[:16]

    @property
    def host(self) -> str:
        """What may be shown of the URL: user, password, path and query may be secret."""
        return urlsplit(self.url).netloc.rpartition("@")[2]

    def wants(self, notice: Notice) -> bool:
        """Whether it is to be told of this."""
        tenant = split_account_key(notice.account)[0]
        return notice.type in self.types and self.tenant in {None, tenant}
