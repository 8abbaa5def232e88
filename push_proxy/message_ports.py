"""What accepted MESSAGEs need of the store."""

from typing import Protocol

from .core.ids import AccountKey
from .core.kept_message import Keeping, KeptMessage


class KeptMessageStore(Protocol):
    """Accepted MESSAGEs until a device has them; may raise `errors.StoreUnavailable`.

    They are capped per account, in number and bytes: what is there stays, a new one is refused.
    """

    async def keep_message(self, message: KeptMessage) -> Keeping:
        """Keep it, behind those of the account that are there; durable on return.

        What has expired makes room.
        """

    async def kept_messages(self, key: AccountKey) -> tuple[KeptMessage, ...]:
        """Those of an account in the order of their arrival, the expired ones included."""

    async def drop_message(self, key: AccountKey, message: str) -> bool:
        """Forget one; False: not there."""
