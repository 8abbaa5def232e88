"""Calls: look at one, search, and what an app reports and does while it wakes."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import Field

from ..cluster.elsewhere import Act, Fate, Report
from ..core.events import AppAction, AppEvent
from ..core.evidence import AppReason, AppWords, Network, Priority
from ..core.ids import AccountId, AccountKey, CallId, DeviceId, Instant, split_account_key
from ..core.model import CallRecord, CallState, Verdict
from ..errors import Conflict, InvalidInput, NotFound
from ..ports import CallQuery
from .access import AnyCaller, key_of, need
from .call_advice import Advice, advice_for
from .call_view import CallList, CallView, summary, view
from .callers import App, Caller, Scope
from .deps import Deps, HttpDeps, SharedDep
from .fields import NAME_PATTERN, Body, Conditions, Instant3339, Name, Text, View, rfc3339
from .idempotency import IdempotencyKey
from .languages import AcceptLanguage, LanguageQuery, chosen
from .openapi import BODY, errors

router = APIRouter(prefix="/v1/calls", tags=["calls"])

CallInPath = Annotated[
    CallId,
    Path(
        alias="call",
        pattern=r"^[0-9A-Za-z-]{1,64}$",
        description="Our call UUID: `call_id` of the push, X-Push-ID of the INVITE.",
        examples=["4b1f0a52-8a3b-4c19-9f0e-2d5a6f7c8e90"],
    ),
]


class SearchQuery(Conditions):
    """Conditions; all that are given must hold."""

    account: Annotated[str | None, Query(pattern=NAME_PATTERN, max_length=64)] = None
    sip_call_id: Annotated[str | None, Query(min_length=1, max_length=512)] = None
    number: Annotated[
        str | None, Query(min_length=1, max_length=255, description="Caller or callee.")
    ] = None
    verdict: Annotated[Verdict | None, Query()] = None
    since: Annotated[Instant3339 | None, Query(description="Calls that began then or later.")] = (
        None
    )
    limit: Annotated[int, Query(ge=1, le=500)] = 50
    cursor: Annotated[str | None, Query(max_length=512, description="`next_cursor`.")] = None
    language: LanguageQuery = None


class LanguageChoice(Conditions):
    """In which language to answer."""

    language: LanguageQuery = None


class EventBody(Body):
    """What the app did with the push, and how it found the phone. Also after the call's end."""

    event: Literal["push_received", "ui_shown", "registered", "failed"]
    at: Instant3339 | None = Field(
        None,
        description="When it happened, by the app's own clock: of `push_received` when the push "
        "came, also if the report could only be sent much later.",
    )
    sent_at: Instant3339 | None = Field(
        None,
        description="When this report is sent, by the same clock: how late it is counts, so a "
        "clock that is wrong does no harm. Without it `at` is only shown.",
    )
    priority: Literal["high", "normal"] | None = Field(
        None, description="As the push arrived: FCM's `getPriority()`."
    )
    original_priority: Literal["high", "normal"] | None = Field(
        None, description="As it was sent: FCM's `getOriginalPriority()`."
    )
    network: Literal["wifi", "cellular", "none"] | None = Field(
        None, description="What connected the phone when the push came; `none`: nothing did."
    )
    reason: Literal["force_stopped", "no_network", "sip_failed", "no_media"] | None = Field(
        None,
        description="Why the app could not take the call, as far as it knows: the person had "
        "stopped it (learnt at its next start), no network, SIP did not get through, no microphone "
        "or sound.",
    )
    detail: Annotated[Text, Field(max_length=255)] | None = None
    device: Name | None = Field(
        None, description="Which device; a device key's own is understood, an API key names it."
    )


class ActionBody(Body):
    """What the person did on the push screen."""

    action: Literal["decline", "busy"]
    device: Name | None = Field(None, description="As with events.")


class CallFate(View):
    """Where the call stands after what was reported."""

    taken: bool = Field(description="False: the call was decided before; this comes too late.")
    state: CallState
    verdict: Verdict | None


@router.get(
    "",
    summary="Search calls",
    response_model=CallList,
    responses=errors(403, 503),
)
async def search_calls(
    query: Annotated[SearchQuery, Query()],
    caller: AnyCaller,
    deps: Deps,
    accepted: AcceptLanguage = None,
) -> CallList:
    """Newest first. A device key sees its account's calls."""
    need(caller, Scope.CALLS)
    found = await deps.store.find_calls(
        CallQuery(
            tenant=caller.tenant,
            account=_searched_account(caller, query.account),
            sip_call_id=query.sip_call_id,
            number=query.number,
            verdict=query.verdict,
            since=None if query.since is None else Instant(query.since.timestamp()),
            limit=query.limit,
            cursor=query.cursor,
        )
    )
    newest = (deps.calls.get(record.id) or record for record in found.calls)
    shown = [summary(one, advice_on(deps, one, query.language, accepted)) for one in newest]
    return CallList(calls=shown, next_cursor=found.next_cursor)


@router.get(
    "/{call}",
    summary="One call and its timeline",
    response_model=CallView,
    responses=errors(403, 404, 503),
)
async def get_call(
    call: CallInPath,
    query: Annotated[LanguageChoice, Query()],
    caller: AnyCaller,
    deps: Deps,
    accepted: AcceptLanguage = None,
) -> CallView:
    """While it goes on and afterwards."""
    record = await deps.elsewhere.newest(await visible_call(deps, caller, call))
    return view(record, advice_on(deps, record, query.language, accepted))


@router.post(
    "/{call}/events",
    summary="The app reports its progress",
    status_code=202,
    response_model=CallFate,
    responses=errors(*BODY, 403, 404, 409, 503),
)
async def report_event(
    request: Request,
    call: CallInPath,
    body: EventBody,
    caller: AnyCaller,
    shared: SharedDep,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """The answer tells the app where the call stands: a late one learns the call's fate."""
    deps = shared.deps
    record = await visible_call(deps, caller, call)
    device = _device(deps, caller, record, body.device)
    words = _words(body, deps.clock.now())
    clock = f"app clock {rfc3339(body.at.timestamp())}" if body.at is not None else ""
    detail = "; ".join(part for part in (words.text, clock) if part)

    deps.accounts.touch_device(record.account, device)

    async def work() -> tuple[int, dict[str, Any]]:
        event = AppEvent(body.event)
        told = Report(call=call, device=device, event=event, detail=detail, words=words)
        if (there := await deps.elsewhere.report(record, told)) is not None:
            return 202, _shown(there)
        taken = deps.wakes.report(call, device, event, detail, words=words)
        return 202, _fate(deps.calls.get(call) or record, taken=taken)

    return await shared.idempotency.once(
        request, idempotency_key, tenant=caller.tenant, secret=request.state.key, work=work
    )


@router.post(
    "/{call}/actions",
    summary="Decline from the push screen",
    status_code=202,
    response_model=CallFate,
    responses=errors(*BODY, 403, 404, 409, 503),
)
async def act(
    request: Request,
    call: CallInPath,
    body: ActionBody,
    caller: AnyCaller,
    shared: SharedDep,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Before SIP is up. 409 when the call is decided already."""
    deps = shared.deps
    record = await visible_call(deps, caller, call)
    device = _device(deps, caller, record, body.device)

    deps.accounts.touch_device(record.account, device)

    async def work() -> tuple[int, dict[str, Any]]:
        action = AppAction(body.action)
        there = await deps.elsewhere.act(record, Act(call=call, device=device, action=action))
        if there is None:
            taken = deps.wakes.act(call, device, action)
            there = _fate_of(deps.calls.get(call) or record, taken=taken)
        if not there.taken:
            verdict = f" ({there.verdict})" if there.verdict else ""
            raise Conflict(f"the call is {there.state}{verdict}: nothing waits for this device")
        return 202, _shown(there)

    return await shared.idempotency.once(
        request, idempotency_key, tenant=caller.tenant, secret=request.state.key, work=work
    )


def _searched_account(caller: Caller, name: str | None) -> AccountKey | None:
    if isinstance(caller, App):
        if name is not None and key_of(caller, AccountId(name)) != caller.account:
            raise NotFound(f"this key opens the account {split_account_key(caller.account)[1]!r}")
        return caller.account
    return None if name is None else key_of(caller, AccountId(name))


async def visible_call(deps: HttpDeps, caller: Caller, call: CallId) -> CallRecord:
    """The call, if this caller may see it. Raises `errors.NotFound` and `problems.NotAllowed`."""
    need(caller, Scope.CALLS)
    record = deps.calls.get(call) or await deps.store.get_call(call)
    visible = record is not None and (
        record.account == caller.account
        if isinstance(caller, App)
        else split_account_key(record.account)[0] == caller.tenant
    )
    if record is None or not visible:
        raise NotFound(f"there is no call {call!r}; GET /v1/calls searches")
    return record


def _device(deps: HttpDeps, caller: Caller, record: CallRecord, named: str | None) -> DeviceId:
    if isinstance(caller, App):
        if named is not None and named != caller.device:
            raise InvalidInput(f"this key speaks for {caller.device!r} only", field="device")
        return caller.device
    if named is None:
        raise InvalidInput("device is needed with an API key: say which one it was", field="device")
    device = DeviceId(named)
    if deps.accounts.device(record.account, device) is None:
        raise InvalidInput(f"the call's account has no device {named!r}", field="device")
    return device


def _words(body: EventBody, now: Instant) -> AppWords:
    at, sent_at = body.at, body.sent_at
    late_s = None if at is None or sent_at is None else (sent_at - at).total_seconds()
    return AppWords(
        at=None if late_s is None or late_s < 0 else Instant(now - late_s),
        priority=body.priority and Priority(body.priority),
        original_priority=body.original_priority and Priority(body.original_priority),
        network=body.network and Network(body.network),
        reason=body.reason and AppReason(body.reason),
        detail=body.detail or "",
    )


def advice_on(
    deps: HttpDeps, record: CallRecord, asked: str | None, accepted: str | None
) -> Advice:
    """A call's advice in the language ``asked`` for, ``accepted`` or the account's."""
    texts, account = deps.texts(), deps.accounts.account(record.account)
    language = chosen(
        texts.languages,
        asked=asked,
        accepted=accepted,
        account=account.language if account else None,
    )
    return advice_for(record, texts, language)


def _fate(record: CallRecord, *, taken: bool) -> dict[str, Any]:
    return _shown(_fate_of(record, taken=taken))


def _fate_of(record: CallRecord, *, taken: bool) -> Fate:
    verdict = record.outcome.verdict if record.outcome else None
    return Fate(taken=taken, state=record.state, verdict=verdict)


def _shown(fate: Fate) -> dict[str, Any]:
    shown = CallFate(taken=fate.taken, state=fate.state, verdict=fate.verdict)
    return shown.model_dump(mode="json")
