"""An Asterisk and a service of the test's own, to be killed and restarted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.lab.asterisk import AsteriskOptions, Extension
from tests.lab.asterisk.fixtures import StartAsterisk
from tests.lab.certificates import Authority
from tests.lab.push_sink import PushSink
from tests.lab.service import LabService, ServiceOptions

from .stage import REALM, TRANSPORTS, Sleeper

REPLACING, REWRITING, CALLER = "101", "102", "103"
PLAIN = ("104", "105", "106")


@pytest.fixture
async def pair(
    start_asterisk: StartAsterisk,
    workdir: Path,
    push_sink: PushSink,
    authority: Authority,
) -> AsyncIterator[Sleeper]:
    """A plain extension of the Asterisk, which the service looks after each second."""
    believes = {"tls": {"tls": {"ca": str(authority.ca)}}}
    options = AsteriskOptions(
        realm=REALM,
        tls=authority.issue(),
        extensions=(
            Extension(REPLACING, max_contacts=1, remove_existing=True),
            Extension(REWRITING, rewrite_contact=True),
            *(Extension(user) for user in (CALLER, *PLAIN)),
        ),
    )
    asterisk = await start_asterisk(options)
    service = LabService(
        workdir / "service",
        ServiceOptions(
            webhook_url=push_sink.url,
            webhook_key=push_sink.key,
            pbxes={
                by: {"registrar": asterisk.uri(by), "qualify_s": 1, **believes.get(by, {})}
                for by in TRANSPORTS
            },
            listen=TRANSPORTS,
            tls=authority.issue().files,
        ),
    )
    await service.start()
    yield Sleeper(
        service=service,
        pbx=asterisk,
        sink=push_sink,
        user=PLAIN[-1],
        believes=authority.trust,
    )
    await service.stop()
