"""Asterisk under our watch: it takes nothing of it for an attack, and gets back what it forgot."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab.asterisk import Asterisk, AsteriskOptions
from tests.lab.asterisk.options import Extension
from tests.lab.process import poll_until
from tests.lab.service import LabService, ServiceOptions

pytestmark = pytest.mark.asterisk
USERS = ("101", "102", "103")


async def test_watched_in_peace_and_repaired(workdir: Path, asterisk_root: Path) -> None:
    """OPTIONS and look-ups every second leave no line in its log that fail2ban would count; after
    a restart without its database everybody is back long before the refresh.
    """
    pbx = Asterisk(
        workdir / "pbx", AsteriskOptions(extensions=tuple(Extension(user) for user in USERS))
    )
    await pbx.start()
    office = {"registrar": pbx.uri(), "qualify_s": 1, "expires_s": 3600}
    async with LabService(workdir / "service", ServiceOptions(pbxes={"office": office})) as service:
        for user in USERS:
            await service.put_account(
                user,
                f"sip:{user}@127.0.0.1",
                pbx="office",
                password=pbx.password(user),
                register="always",
            )
            await service.is_registered(user)

        def rounds(method: str) -> int:
            return pbx.process.output().count(f"\n{method} sip:127.0.0.1")

        before = rounds("REGISTER")
        assert await poll_until(
            lambda: rounds("OPTIONS") >= 3 and rounds("REGISTER") >= before + 3, within_s=10
        )
        log = pbx.process.output()
        assert "No matching endpoint" not in log
        assert "failed for" not in log
        await pbx.forget()
        for user in USERS:
            await pbx.wait_contacts(user, lambda found: len(found) == 1, within_s=15)
    await pbx.stop()
