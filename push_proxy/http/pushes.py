"""Test pushes: an operator hears from a device's push provider what it makes of them."""

from dataclasses import replace
from typing import Any, Literal
from uuid import uuid4

from fastapi import APIRouter, Request, Response
from pydantic import Field

from ..core.actions import PushType
from ..core.events import PushOutcome
from ..core.ids import CallId, Instant, PushId
from ..core.model import (
    CallRecord,
    CallState,
    Device,
    Direction,
    Fault,
    Outcome,
    TimelineEntry,
    TokenState,
    Verdict,
)
from ..core.payload import Push
from ..core.push_advice import ACCEPTED, push_advice
from ..core.rates import Buckets
from ..ports import PushResult, TokenFate
from .access import DevicesOperator, own_device
from .deps import HttpDeps, SharedDep
from .fields import AccountInPath, Body, DeviceInPath, View
from .idempotency import IdempotencyKey
from .openapi import BODY, errors
from .problems import TooManyRequests

router = APIRouter(prefix="/v1/accounts/{account}/devices/{device}", tags=["devices"])
_PER_SECOND, _BURST = 0.2, 10.0
_FATES = {TokenFate.WRONG_APP: TokenState.WRONG_APP, TokenFate.DEAD: TokenState.DEAD}


def test_push_rates() -> Buckets:
    """How many test pushes an account gets: ten at once, then one every five seconds."""
    return Buckets(per_second=_PER_SECOND, burst=_BURST)


class PushBody(Body):
    """What to send."""

    type: Literal["refresh", "call"] = Field(
        "refresh",
        description="`refresh` shows nothing to the person. `call` looks like a call that is over "
        "when the app asks for it: a phone may ring for a moment.",
    )


class PushView(View):
    """What came of it."""

    provider: str | None
    app_id: str | None
    type: str
    call_id: str | None = Field(description="Of a `call`: GET /v1/calls/{call_id} knows it.")
    outcome: PushOutcome = Field(
        description="`accepted` by the provider, which says nothing about the phone."
    )
    reason: str = Field(description="The provider's, as metrics and log have it.")
    provider_id: str = Field(description="The provider's name of the push, for its support.")
    attempts: int = Field(description="Requests that were sent; 0: none.")
    elapsed_ms: float
    token: TokenState = Field(description="What is known of the device's token after that.")
    advice: str


@router.post(
    "/pushes",
    summary="Send a test push",
    response_model=PushView,
    responses=errors(*BODY, 403, 404, 409, 503),
)
async def send_test_push(
    request: Request,
    account: AccountInPath,
    device: DeviceInPath,
    caller: DevicesOperator,
    shared: SharedDep,
    body: PushBody | None = None,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """200 whatever the provider says: `outcome` tells. Few are allowed per account.

    The answer counts as any other: a token that the provider calls dead is dropped.
    """
    deps = shared.deps
    found = own_device(deps.accounts, caller, account, device)
    kind = PushType((body or PushBody()).type)

    async def work() -> tuple[int, dict[str, Any]]:
        if wait_s := shared.test_pushes.take(found.account, deps.clock.now()):
            raise TooManyRequests("this account has had enough test pushes", retry_after_s=wait_s)
        return 200, (await _test(deps, found, kind)).model_dump(mode="json")

    return await shared.idempotency.once(
        request, idempotency_key, tenant=caller.tenant, secret=request.state.key, work=work
    )


async def _test(deps: HttpDeps, device: Device, kind: PushType) -> PushView:
    now = deps.clock.now()
    record = _record(device, now) if kind is PushType.CALL else None
    if record is not None:
        # Before the push: the app may ask at once.
        await deps.store.put_call(record)
    if device.has_target and not deps.serves(device.provider, device.app_id):
        result = PushResult(outcome=PushOutcome.MISCONFIGURED, reason="unknown_app", attempts=0)
    else:
        result = await deps.push(
            Push(
                id=PushId(str(uuid4())),
                type=kind,
                call=None if record is None else record.id,
                device=device,
                caller_name="" if record is None else record.caller_name,
                sent_at=now,
                expires_at=Instant(now + deps.settings.wake.deadline_s),
            )
        )
    if record is not None:
        await deps.store.put_call(_answered(deps, record, device, result))
    return _view(deps, device, kind, record, result)


def _record(device: Device, now: Instant) -> CallRecord:
    """A call that was over before it began: whoever asks for it stops ringing."""
    return CallRecord(
        id=CallId(str(uuid4())),
        account=device.account,
        direction=Direction.INCOMING,
        sip_call_id="",
        caller_name="Test push",
        started_at=now,
        ended_at=now,
        state=CallState.ENDED,
        outcome=Outcome(
            verdict=Verdict.CALLER_CANCELLED,
            phase=CallState.WAKING,
            fault=Fault.NOBODY,
            ended_by="proxy",
            status=0,
            advice="A test push: nobody called.",
        ),
        timeline=(TimelineEntry(now, "test_push_sent", device.device),),
    )


def _answered(deps: HttpDeps, record: CallRecord, device: Device, result: PushResult) -> CallRecord:
    entry = TimelineEntry(
        deps.clock.now(),
        "test_push_answered",
        device.device,
        f"{result.outcome.value}: {result.reason}",
    )
    return replace(record, timeline=(*record.timeline, entry))


def _view(
    deps: HttpDeps, device: Device, kind: PushType, record: CallRecord | None, result: PushResult
) -> PushView:
    taken = result.outcome is PushOutcome.ACCEPTED
    return PushView(
        provider=device.provider or None,
        app_id=device.app_id or None,
        type=kind.value,
        call_id=None if record is None else record.id,
        outcome=result.outcome,
        reason=result.reason,
        provider_id=result.provider_id,
        attempts=result.attempts,
        elapsed_ms=round(result.elapsed_s * 1000.0, 1),
        token=_token(deps, device, result),
        advice=ACCEPTED if taken else push_advice(device.provider, result.reason),
    )


def _token(deps: HttpDeps, device: Device, result: PushResult) -> TokenState:
    now = deps.accounts.device(device.account, device.device)
    if now is not None and now.token_fault is not None:
        return now.token_fault.state
    if now is None or now.token == device.token:
        return _FATES.get(result.token, TokenState.GOOD)
    return TokenState.GOOD
