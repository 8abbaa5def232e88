"""One row of an import: an account made or replaced, and what the client is told of it."""

import json
from typing import Any

from pydantic import ValidationError

from ..core.ids import AccountId, AccountKey
from ..core.model import Account
from ..errors import InvalidInput, PushProxyError
from ..store.faults import aor_taken
from .access import key_of
from .account_body import ImportRow
from .account_change import changed
from .accounts import apply
from .callers import Operator
from .deps import HttpDeps
from .problems import describe, summary


class Import:
    """Takes rows; knows which accounts it has taken."""

    def __init__(self, *, caller: Operator, deps: HttpDeps, dry_run: bool) -> None:
        self._caller = caller
        self._deps = deps
        self._dry_run = dry_run
        self._first_seen: dict[str, int] = {}
        self._aors: dict[str, AccountKey] = {}
        self._given: set[AccountKey] = set()
        """Who would have which AOR, and whose that is: only in a dry run."""
        self._counts = dict.fromkeys(("created", "updated", "unchanged", "failed"), 0)

    async def take(self, number: int, text: bytes | None) -> dict[str, Any]:
        """One row's result. It is taken whole or not at all; nothing is raised for its faults."""
        result = await self._take(number, text)
        self._counts[result["result"]] += 1
        return result

    def summary(self) -> dict[str, Any]:
        """The last line: how many there were of what."""
        total = sum(self._counts.values())
        return {"done": True, "dry_run": self._dry_run, "rows": total, **self._counts}

    async def _take(self, number: int, text: bytes | None) -> dict[str, Any]:
        name: str | None = None
        try:
            content = _parse(text)
            name = content.get("account") if isinstance(content.get("account"), str) else None
            row = ImportRow.model_validate(content)
            if (first := self._first_seen.setdefault(row.account, number)) != number:
                raise InvalidInput(f"this account is in row {first} already", field="account")
            result = await self._apply(row)
        except ValidationError as error:
            found = describe(error.errors(include_url=False))
            failed = [item.model_dump() for item in found]
            return _failed(number, name, summary(found), failed)
        except PushProxyError as error:
            field = getattr(error, "field", None)
            failed = [{"field": field, "message": str(error)}] if field else []
            return _failed(number, name, str(error), failed)
        return {"row": number, "account": name, "result": result}

    async def _apply(self, row: ImportRow) -> str:
        caller, deps = self._caller, self._deps
        account = AccountId(row.account)
        stored = deps.accounts.account(key_of(caller, account))
        if self._dry_run:
            new = changed(
                row,
                tenant=caller.tenant,
                account=account,
                stored=stored,
                settings=deps.settings,
                now=deps.clock.now(),
            )
            created = stored is None
            self._check_aor(new)
        else:
            new, created = await apply(deps, caller, account, row)
        if created:
            return "created"
        return "unchanged" if new is stored else "updated"

    def _check_aor(self, new: Account) -> None:
        """In a dry run, what the store would find. Raises `errors.Conflict`."""
        owner = self._aors.get(new.aor)
        stored = self._deps.accounts.by_aor(new.aor)
        if owner is None and stored is not None and stored.key not in self._given:
            owner = stored.key  # no earlier row gives that account another one
        if owner is not None and owner != new.key:
            raise aor_taken(new, owner)
        self._aors[new.aor] = new.key
        self._given.add(new.key)


def _parse(text: bytes | None) -> dict[str, Any]:
    if text is None:
        raise InvalidInput("the row is longer than http.max_body_bytes allows")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"the row is no valid JSON ({error})") from None
    if not isinstance(content, dict):
        raise InvalidInput("the row must be a JSON object")
    return content


def _failed(
    number: int, name: str | None, detail: str, fields: list[dict[str, Any]]
) -> dict[str, Any]:
    return {
        "row": number,
        "account": name,
        "result": "failed",
        "detail": detail,
        "errors": fields,
    }
