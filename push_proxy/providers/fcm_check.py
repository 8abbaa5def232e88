"""Whether pushes by FCM would work, tried without any phone noticing."""

from collections.abc import AsyncIterator

from firebase_admin import messaging

from ..core.events import PushOutcome
from ..core.push_advice import push_advice
from ..ports import Check
from .android_message import MADE_UP_TOKEN
from .fcm_message import aimed
from .fcm_project import Project
from .fcm_token import NoToken

_SKEW_S = 60.0


async def checked(app_id: str, project: Project, *, request_s: float) -> AsyncIterator[Check]:
    """Fetch an access token, then let FCM look at a message that is for nobody."""
    what = f"fcm {app_id}: credentials"
    try:
        await project.access.get(timeout_s=2 * request_s)
    except NoToken as none:
        yield Check(what=what, ok=False, text=_explained(none.attempt.reason))
        return
    yield _clock_check(what, project.access.skew_s)
    trial = aimed(messaging.Message(data={"v": "1"}), MADE_UP_TOKEN)
    try:
        attempt = await project.send(trial, timeout_s=request_s, renewed=True, dry_run=True)
    except NoToken as none:
        attempt = none.attempt
    # The token is made up: that it is refused means that everything else is right.
    ok = attempt.outcome in {PushOutcome.ACCEPTED, PushOutcome.REJECTED}
    text = f"FCM takes messages of {project.project_id}" if ok else _explained(attempt.reason)
    yield Check(what=f"fcm {app_id}: permission to push", ok=ok, text=text)


def _clock_check(what: str, skew_s: float | None) -> Check:
    if skew_s is not None and abs(skew_s) > _SKEW_S:
        side = "ahead of" if skew_s > 0 else "behind"
        text = (
            f"this machine's clock is {abs(skew_s):.0f} s {side} Google's: set it, keep it by NTP"
        )
        return Check(what=what, ok=False, text=text)
    return Check(what=what, ok=True, text="Google gives an access token")


def _explained(reason: str) -> str:
    return f"{reason}: {push_advice('fcm', reason)}"
