"""Enrolment: a one-time code from the backend, exchanged by the app for its device key."""

import secrets
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from pydantic import Field

from ..core.ids import DeviceId, Instant, TenantId
from ..core.model import Enrolment
from .access import DevicesOperator, visible_account
from .callers import hashed
from .deps import SharedDep
from .device_keys import DeviceKeyView, give_key
from .fields import AccountInPath, Body, OwnName, Timestamp, View, rfc3339
from .gate import source_of, too_many_failures
from .idempotency import IdempotencyKey
from .openapi import BODY, errors
from .problems import NotAllowed
from .sip_block import SipBlock, sip_block

router = APIRouter(prefix="/v1", tags=["devices"])
_CODE_BYTES = 18
_NOBODY = TenantId("-")
"""Whose kept answers these are: the code, not a tenant, is what opens them."""


class EnrolmentBody(Body):
    """How long the code is good."""

    expires_in_s: Annotated[int, Field(ge=10, le=2_592_000)] = 600


class EnrolmentView(View):
    """A one-time code, shown this once."""

    code: str
    account: str
    expires_at: Timestamp


class EnrolBody(Body):
    """A code, and the name that the app gives its device."""

    code: Annotated[str, Field(min_length=1, max_length=128)] = Field(repr=False)
    device: OwnName


class EnrolView(DeviceKeyView):
    """The device's key, and what the app needs to register with us."""

    sip: SipBlock


@router.post(
    "/accounts/{account}/enrolments",
    summary="Make a one-time code for an app",
    status_code=201,
    response_model=EnrolmentView,
    responses=errors(*BODY, 403, 404, 409, 503),
)
async def make_enrolment(
    request: Request,
    account: AccountInPath,
    caller: DevicesOperator,
    shared: SharedDep,
    body: EnrolmentBody | None = None,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Give it to the app (a QR code, a deep link); the app exchanges it at POST /v1/enrol."""
    deps = shared.deps
    key = visible_account(deps.accounts, caller, account).key
    lifetime_s = (body or EnrolmentBody()).expires_in_s

    async def work() -> tuple[int, dict[str, Any]]:
        code = secrets.token_urlsafe(_CODE_BYTES)
        expires_at = Instant(deps.clock.now() + lifetime_s)
        await deps.store.put_enrolment(
            Enrolment(code_sha256=hashed(code), account=key, expires_at=expires_at)
        )
        made = EnrolmentView(code=code, account=account, expires_at=rfc3339(expires_at))
        return 201, made.model_dump()

    return await shared.idempotency.once(
        request, idempotency_key, tenant=caller.tenant, secret=request.state.key, work=work
    )


@router.post(
    "/enrol",
    summary="Exchange a one-time code for a device key",
    response_model=EnrolView,
    responses=errors(*BODY, 403, 409, 412, 503),
    openapi_extra={"security": []},
)
async def enrol(
    request: Request,
    body: EnrolBody,
    shared: SharedDep,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Without a key: the code is the proof. It is good once.

    Send an Idempotency-Key, and repeat the request with it when the answer was lost: the
    answer comes again. A device that exists already keeps its push target and gets a new key.
    """
    deps, source = shared.deps, source_of(request.scope)
    now = deps.clock.now()
    if wait_s := shared.failures.wait_s(source, now):
        raise too_many_failures(wait_s)

    async def work() -> tuple[int, dict[str, Any]]:
        enrolment = await deps.store.take_enrolment(hashed(body.code), now=now)
        account = deps.accounts.account(enrolment.account) if enrolment else None
        if account is None:
            shared.failures.take(source, now)
            raise NotAllowed(
                "this code is unknown, used already, or expired; ask the backend for a new one"
            )
        given = await give_key(deps, account.key, DeviceId(body.device))
        sip = sip_block(account, deps.settings, deps.sip_listening())
        return 200, EnrolView(**given.model_dump(), sip=sip).model_dump()

    return await shared.idempotency.once(
        request, idempotency_key, tenant=_NOBODY, secret=body.code, work=work
    )
