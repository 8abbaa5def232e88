"""What FCM gets from us for each kind of push and device."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from collections.abc import AsyncIterator
from datetime import datetime

import pytest

from push_proxy.core.actions import PushType
from push_proxy.core.payload import Privacy
from push_proxy.ports import AppState
from push_proxy.providers.fcm import FcmProvider
from tests.doubles.fcm import FcmDouble

from .fcm_pushes import APP, a_provider, a_push, an_app, brief


@pytest.fixture
async def provider(fcm: FcmDouble) -> AsyncIterator[FcmProvider]:
    made = a_provider(fcm)
    yield made
    await made.aclose()


async def test_call(fcm: FcmDouble, provider: FcmProvider) -> None:
    """A call is a data message, urgent, now or never, labelled; the phone has it, and the result
    names it as FCM does.
    """
    phone = fcm.device()
    result = await provider.send(a_push(phone))
    assert brief(result) == ("accepted", "http_200", 1)
    [request] = fcm.requests
    assert result.provider_id == request.message_id
    assert request.android == {"priority": "high", "ttl": "0s"}
    assert request.label == "voip_call"
    assert set(request.message) == {"token", "data", "android", "fcm_options"}
    [delivery] = phone.received
    assert delivery.data["type"] == "call"
    assert (delivery.data["call_id"], delivery.data["caller_name"]) == ("c-1", "Jörg")
    assert "token" not in delivery.data
    assert (request.http, fcm.faults) == ("2", [])
    assert [app.state for app in provider.health()] == [AppState.OK]


@pytest.mark.parametrize(
    ("push_type", "android"),
    [
        (PushType.CANCEL, {"priority": "normal", "ttl": "60s"}),
        (PushType.ANSWERED_ELSEWHERE, {"priority": "normal", "ttl": "60s"}),
        (PushType.MISSED, {"priority": "normal", "ttl": "86400s"}),
        (PushType.MESSAGE, {"priority": "high", "ttl": "86400s"}),
        (
            PushType.VOICEMAIL,
            {"priority": "normal", "ttl": "86400s", "collapse_key": "voicemail"},
        ),
        (PushType.REFRESH, {"priority": "normal", "ttl": "86400s", "collapse_key": "refresh"}),
    ],
)
async def test_other_kinds(
    fcm: FcmDouble, provider: FcmProvider, push_type: PushType, android: dict[str, str]
) -> None:
    """What shows nothing is not urgent, or FCM would make calls of the app wait; what is worth
    something later is kept.
    """
    phone = fcm.device()
    assert (await provider.send(a_push(phone, push_type))).outcome == "accepted"
    [request] = fcm.requests
    assert request.android == android
    assert request.label == f"voip_{push_type.value}"
    assert request.data["type"] == push_type.value


async def test_cancel_arrives_fast(fcm: FcmDouble, provider: FcmProvider) -> None:
    """A phone that rings gets the cancel at once; one that the call did not reach never does."""
    ringing, away = fcm.device(), fcm.device()
    away.online = False
    for phone in (ringing, away):
        await provider.send(a_push(phone))
        await provider.send(a_push(phone, PushType.CANCEL))
    assert [each.data["type"] for each in ringing.received] == ["call", "cancel"]
    fcm.wake(away)
    assert [each.data["type"] for each in away.received] == ["cancel"]


async def test_every_kind_has_a_way(fcm: FcmDouble, provider: FcmProvider) -> None:
    """No kind of push is left out."""
    phone = fcm.device()
    for push_type in PushType:
        assert (await provider.send(a_push(phone, push_type))).outcome == "accepted"
    assert len(phone.received) == len(PushType)


async def test_installation(fcm: FcmDouble, provider: FcmProvider) -> None:
    """A device of kind `fid` is aimed at by that; no kind makes a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for kind in ("fid", "token"):
            phone = fcm.device(kind=kind)
            assert (await provider.send(a_push(phone))).outcome == "accepted"
            assert fcm.requests[-1].message[kind] == phone.token


async def test_direct_boot(fcm: FcmDouble) -> None:
    """Only where configured, and only calls, reach a phone that nobody has unlocked yet."""
    provider, phone = a_provider(fcm, an_app(fcm, direct_boot_ok=True)), fcm.device()
    await provider.send(a_push(phone))
    await provider.send(a_push(phone, PushType.CANCEL))
    await provider.aclose()
    assert [each.android.get("direct_boot_ok") for each in fcm.requests] == [True, None]


async def test_too_long(fcm: FcmDouble, provider: FcmProvider) -> None:
    """A name of any length and alphabet is shortened until FCM takes the push."""
    phone = fcm.device()
    name = "Jörg \udcff 电话" * 2000
    assert brief(await provider.send(a_push(phone, caller_name=name))) == (
        "accepted",
        "http_200",
        1,
    )
    [delivery] = phone.received
    assert delivery.data["caller_name"].startswith("Jörg ? 电话")
    assert delivery.data["caller_number"] == "100"
    size = len(json.dumps(delivery.data, ensure_ascii=False, separators=(",", ":")).encode())
    assert 4080 < size <= 4096


async def test_ids_only(fcm: FcmDouble) -> None:
    """With `privacy: ids_only` nothing about the caller is on the wire."""
    provider, phone = a_provider(fcm, privacy=Privacy.IDS_ONLY), fcm.device()
    await provider.send(a_push(phone))
    await provider.aclose()
    [request] = fcm.requests
    assert not {"caller_name", "caller_number", "video"} & set(request.data)
    assert "Jörg".encode() not in request.body
    assert request.data["call_id"] == "c-1"


async def test_times_are_the_worlds(fcm: FcmDouble, provider: FcmProvider) -> None:
    """The payload's times are the wall clock's."""
    await provider.send(a_push(fcm.device()))
    sent_at = datetime.fromisoformat(fcm.requests[0].data["sent_at"]).timestamp()
    assert sent_at == pytest.approx(fcm.now(), abs=2)


async def test_several_projects(fcm: FcmDouble) -> None:
    """Each app's pushes go to its own project with its own token; apps with one service account
    share token and connection.
    """
    other = fcm.account("other-project")
    provider = a_provider(
        fcm,
        an_app(fcm),
        an_app(fcm, app_id="com.example.tablet"),
        an_app(fcm, other, app_id="org.example.other"),
    )
    home, away = fcm.device(), fcm.device("other-project")
    for phone, app_id in (
        (home, APP),
        (home, "com.example.tablet"),
        (away, "org.example.other"),
    ):
        result = await provider.send(a_push(phone, app_id=app_id))
        assert result.outcome == "accepted"
    await provider.aclose()
    projects = [(each.project_id, each.connection) for each in fcm.requests]
    assert projects[0] == projects[1] != projects[2]
    assert [each[0] for each in projects] == ["lab-project", "lab-project", "other-project"]
    assert len({each.bearer for each in fcm.requests}) == len(fcm.oauth_requests) == 2


async def test_names_of_an_app(fcm: FcmDouble) -> None:
    """RFC 8599's pn-param may be the project, its number, or our own name of the app."""
    other = fcm.account("other-project")
    provider = a_provider(
        fcm,
        an_app(fcm, sender_id="1111"),
        an_app(fcm, other, app_id="org.example.other", sender_id="2222"),
        an_app(fcm, other, app_id="lab-project"),
    )
    found = {name: provider.app_for(name) for name in ("1111", "2222", APP, "other-project")}
    assert found == {
        "1111": APP,
        "2222": "org.example.other",
        APP: APP,
        "other-project": "org.example.other",
    }
    assert provider.app_for("lab-project") == "lab-project"
    assert provider.app_for("unknown") is None
    assert provider.serves(APP)
    assert not provider.serves("unknown")
    result = await provider.send(a_push(fcm.device(), app_id="unknown"))
    assert brief(result) == ("misconfigured", "unknown_app", 0)
    await provider.aclose()


async def test_http_1_1(fcm: FcmDouble, provider: FcmProvider) -> None:
    """Behind something that speaks no HTTP/2 pushes go all the same."""
    fcm.only_http_1_1()
    for _ in range(2):
        assert (await provider.send(a_push(fcm.device()))).outcome == "accepted"
    assert [each.http for each in fcm.requests] == ["1.1", "1.1"]


def test_import_is_for_users_of_fcm() -> None:
    """A service without FCM does not load firebase-admin: 47 MB and a quarter of a second."""
    code = (
        "import sys, push_proxy.app\n"
        "heavy = {'firebase_admin', 'google.auth', 'httpx'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
