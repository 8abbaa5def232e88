"""Tokens of iPhones: since when Apple calls them dead, who brings them back, where they live."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.lab.service import APP_ID

from .conftest import Extension
from .push_apps import PushApps, PushStage, push_stage, register

WAKE = {"deadline_s": 5.0, "repush_after_s": None, "fresh_s": 0}

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage() -> AsyncIterator[PushStage]:
    """One for all tests of this file."""
    directory = Path(tempfile.mkdtemp(prefix="pp-"))
    async with push_stage(directory) as stage:
        yield stage
    shutil.rmtree(directory, ignore_errors=True)


@pytest_asyncio.fixture(loop_scope="module")
async def apps(stage: PushStage) -> AsyncIterator[PushApps]:
    """What this test hands out; at its end no token has shown anywhere."""
    apps = PushApps(stage=stage)
    yield apps
    await apps.leave()


async def extension(apps: PushApps) -> Extension:
    """An account that its PBX calls whatever becomes of its tokens."""
    ext = await apps.extension()
    await ext.put(register="always", wake=WAKE)
    await apps.stage.pbx.registered(ext.user)
    return ext


async def put(apps: PushApps, ext: Extension, token: str) -> dict[str, Any]:
    """The app hands its token in by HTTP."""
    apps.tokens.append(token)
    return await ext.put_device(provider="apns", token=token)


async def refused(ext: Extension) -> str:
    """The verdict of a call that nobody takes."""
    call = ext.call()
    assert (await call.final(within=8)).status == 480
    return str((await ext.record(call))["verdict"])


async def test_a_410_from_before_the_registration_ends_nothing(apps: PushApps) -> None:
    """Apple says that the token died a minute ago, but the app has named it since: it is kept.
    Dead since after that, it is dropped, and not pushed to again.
    """
    ext, apns = await extension(apps), apps.stage.apns
    phone = apns.device(APP_ID)
    await put(apps, ext, phone.token)
    apns.unregister(phone.token, ago_s=60)
    assert await refused(ext) == "push_rejected"
    assert (await ext.service.device_status(ext.account))["token"]["state"] == "good"
    apns.unregister(phone.token, ago_s=-1)
    assert await refused(ext) == "push_rejected"
    shown = await ext.service.device_status(ext.account)
    assert (shown["token"]["state"], shown["token"]["reason"]) == ("dead", "Unregistered")
    assert await refused(ext) == "no_device"
    assert apps.pushes() == 2


async def test_a_refresh_does_not_bring_a_dead_token_back(apps: PushApps) -> None:
    """The app that runs goes on naming the token it had in the same registration: it stays dead.
    Started anew, with another Call-ID, it has asked Apple again: the token lives.
    """
    ext, apns = await extension(apps), apps.stage.apns
    device = apns.device(APP_ID)
    params = apps.apns_params(device.token)
    phone = ext.phone()
    assert (await register(phone, params)).status == 200
    apns.unregister(device.token, ago_s=-1)  # later than the REGISTER, whatever two clocks say
    call = ext.call()
    incoming = await phone.incoming()  # no push brings it, so it is rung where it is bound
    incoming.accept()
    dialog = await call.answered()
    await incoming.expect_ack()
    assert (await apps.only_device(ext))["token"]["state"] == "dead"

    assert (await register(phone, params)).status == 200
    assert (await apps.only_device(ext))["token"]["state"] == "dead"
    dialog.send("BYE")
    await incoming.dialog().expect_bye()
    await phone.unregister()
    assert await refused(ext) == "no_device"
    assert apps.pushes() == 1

    device.register_again()
    assert (await register(ext.phone(), params)).status == 200
    assert (await apps.only_device(ext))["token"]["state"] == "good"
    call = ext.call()
    await apps.pushed_by_apns(2)
    call.send_cancel()


async def test_the_environment_that_worked_is_kept(apps: PushApps) -> None:
    """A development build's token: tried in production, delivered by the sandbox, and from then
    on sent there at once; an equal PUT does not forget it.
    """
    ext, apns = await extension(apps), apps.stage.apns
    phone = apns.device(APP_ID, environment="sandbox")
    await put(apps, ext, phone.token)
    for requests in (2, 3):
        call = ext.call()
        pushes = await apps.pushed_by_apns(requests)
        await call.expect(180)
        await call.cancel()
        assert (await put(apps, ext, phone.token))["environment"] == "sandbox"
    assert [push.environment for push in pushes] == ["production", "sandbox", "sandbox"]
