"""The service under test, with the steps that most tests begin with and the questions they ask."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from push_proxy.demo.service import APP_ID, Service, ServiceOptions, TryLater

from .phone import Phone

__all__ = ["APP_ID", "LabService", "ServiceOptions"]

POLL_S = 0.02
Record = dict[str, Any]


class LabService(Service):
    """One service process. `request` and `expect` speak to its API as the operator."""

    async def put_account(self, account: str, aor: str, **fields: Any) -> dict[str, Any]:
        """Create or replace an account; `fields` as in the API."""
        answer: dict[str, Any] = await self.expect(
            "PUT", f"/v1/accounts/{account}", {"aor": aor, **fields}
        )
        return answer

    async def put_device(
        self, account: str, device: str = "handset", *, token: str | None = None, **fields: Any
    ) -> dict[str, Any]:
        """Create or replace a device that is woken by webhook."""
        body = {
            "provider": "webhook",
            "app_id": APP_ID,
            "token": token or f"token-{account}-{device}",
            **fields,
        }
        answer: dict[str, Any] = await self.expect(
            "PUT", f"/v1/accounts/{account}/devices/{device}", body
        )
        return answer

    async def delete_account(self, account: str) -> None:
        """Erase it; one that is not there is fine."""
        status, answer = await self.request("DELETE", f"/v1/accounts/{account}")
        assert status in (204, 404), answer

    async def registration(self, account: str) -> dict[str, Any]:
        """The account's registration at its PBX, as its status shows it."""
        answer = await self.expect("GET", f"/v1/accounts/{account}")
        found: dict[str, Any] = answer["status"]["registration"]
        return found

    async def registration_until(
        self, account: str, condition: Callable[[dict[str, Any]], bool], *, within: float = 10.0
    ) -> dict[str, Any]:
        """The registration as soon as `condition` holds for it."""
        return await self.eventually(
            lambda: self.registration(account), condition, within=within, what="registration"
        )

    async def is_registered(self, account: str, *, within: float = 10.0) -> dict[str, Any]:
        """Waits until we say that we are registered at the PBX."""
        return await self.registration_until(
            account, lambda found: found["state"] == "registered", within=within
        )

    async def device_status(self, account: str, device: str = "handset") -> dict[str, Any]:
        """How a device does, as the account's status shows it."""
        answer = await self.expect("GET", f"/v1/accounts/{account}")
        found = [each for each in answer["status"]["devices"] if each["device"] == device]
        assert found, f"no device {device} in {answer['status']}"
        shown: dict[str, Any] = found[0]
        return shown

    async def call_record(
        self,
        *,
        account: str,
        sip_call_id: str | None = None,
        state: str = "ended",
        within: float = 10.0,
    ) -> Record:
        """The account's newest call (of that Call-ID) with its timeline, once it is in `state`."""
        query = f"/v1/calls?account={account}&limit=1"
        query += f"&sip_call_id={sip_call_id}" if sip_call_id else ""

        async def newest() -> Record:
            page = await self.expect("GET", query)
            if not page["calls"]:
                return {"state": "no call on record"}
            found: Record = await self.expect("GET", f"/v1/calls/{page['calls'][0]['id']}")
            return found

        return await self.eventually(
            newest, lambda record: record["state"] == state, within=within, what=f"call in {state}"
        )

    async def metric(self, name: str) -> float:
        """The sum of a metric's samples, with labels or without."""
        text = await self.expect("GET", "/metrics")
        values = [
            float(line.rpartition(" ")[2])
            for line in text.splitlines()
            if line.partition("{")[0].partition(" ")[0] == name
        ]
        assert values, f"no metric {name}"
        return sum(values)

    async def nothing_waits(self, *, within: float = 5.0) -> None:
        """Waits until no call is held any more."""

        async def waiting() -> dict[str, Any]:
            return {"calls": await self.metric("push_proxy_waiting_calls")}

        await self.eventually(
            waiting, lambda found: found["calls"] == 0, within=within, what="end of all waiting"
        )

    async def eventually(
        self,
        ask: Callable[[], Awaitable[dict[str, Any]]],
        condition: Callable[[dict[str, Any]], bool],
        *,
        within: float,
        what: str,
    ) -> dict[str, Any]:
        """What `ask` answers as soon as `condition` holds. Raises AssertionError with the last.

        A 503 is asked again: on a busy machine Valkey may stand still for a second.
        """
        deadline = time.monotonic() + within
        while True:
            try:
                found = await ask()
            except TryLater as error:
                found = {"state": str(error)}
            else:
                if condition(found):
                    return found
            if time.monotonic() > deadline:
                raise AssertionError(f"no {what} within {within} s; last seen: {found}")
            await asyncio.sleep(POLL_S)

    def phone(
        self,
        aor: str,
        *,
        password: str,
        device: str | None = None,
        transport: str = "udp",
        **fields: Any,
    ) -> Phone:
        """A phone that has us for registrar and proxy; it sleeps until `wake` or `register`.

        `device` makes its `+sip.instance`. Over TLS it needs `tls`, at least whom to believe.
        """
        instance = f"urn:x-lab:{device}" if device else None
        return Phone(
            aor,
            proxy=self.sip_at(transport),
            password=password,
            instance=instance,
            transport=transport,
            **fields,
        )

    async def close(self) -> None:
        """Give up the API connection of this event loop; the process goes on."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def events(self, record: Record, device: str | None = None) -> list[str]:
        """The names in a record's timeline, all or of one device."""
        return [entry["event"] for entry in record["timeline"] if device in (None, entry["device"])]
