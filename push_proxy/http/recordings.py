"""The SIP of a call: as a ladder, and as a capture file."""

from fastapi import APIRouter, Response
from pydantic import Field

from ..core.ids import CallId
from ..core.model import CallRecord
from ..errors import NotFound
from ..recorder.ladder import Rung, ladder
from ..recorder.pcap import MEDIA_TYPE, pcap
from ..recorder.recording import Recording
from .access import CallsOperator
from .callers import Operator
from .calls import CallInPath, visible_call
from .deps import Deps, HttpDeps
from .fields import Timestamp, View, rfc3339
from .openapi import errors

router = APIRouter(prefix="/v1/calls", tags=["calls"])


class SipMessageView(View):
    """One message between us and a hop."""

    at: Timestamp
    ms: float = Field(description="Milliseconds since the call began.")
    source: str = Field(
        serialization_alias="from", description="`pbx`, `us` or a device's name.", examples=["pbx"]
    )
    target: str = Field(serialization_alias="to", description="As `from`.", examples=["us"])
    hop: str = Field(description="The one of them that is not us.")
    transport: str = Field(examples=["udp"])
    from_address: str = Field(examples=["udp:192.0.2.10:5060"])
    to_address: str = Field(description="Of us: the address that listens.")
    start_line: str
    text: str = Field(description="The whole message; what is secret in it reads `***`.")


class SipView(View):
    """All SIP messages of a call that were kept, in order."""

    hops: list[str] = Field(
        description="Columns of a drawing, from left to right: `pbx`, `us`, the devices."
    )
    messages: list[SipMessageView]
    dropped: int = Field(
        description="Messages of this call that had no room; they are missing in the middle."
    )
    missed: int = Field(
        description="Messages of any calls that could not be copied while this one went on: "
        "some of them may be this call's."
    )


@router.get(
    "/{call}/sip",
    summary="The SIP messages of a call",
    response_model=SipView,
    responses=errors(403, 404, 503),
)
async def get_sip(call: CallInPath, caller: CallsOperator, deps: Deps) -> SipView:
    """While it goes on and afterwards, if the recorder was on. Secrets are masked."""
    record, recording = await _recorded(deps, caller, call)
    drawn = ladder(recording)
    return SipView(
        hops=list(drawn.hops),
        messages=[_view(rung, record) for rung in drawn.rungs],
        dropped=recording.dropped,
        missed=recording.missed,
    )


@router.get(
    "/{call}/sip.pcap",
    summary="The SIP messages of a call as a capture file",
    response_class=Response,
    responses={
        200: {
            "description": "For Wireshark, tshark or sngrep. TLS is shown decrypted, with port "
            "5060 for ours.",
            "content": {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}},
        },
        **errors(403, 404, 503),
    },
)
async def get_pcap(call: CallInPath, caller: CallsOperator, deps: Deps) -> Response:
    """While it goes on and afterwards, if the recorder was on. Secrets are masked."""
    _, recording = await _recorded(deps, caller, call)
    return Response(
        pcap(recording.messages),
        media_type=MEDIA_TYPE,
        headers={"Content-Disposition": f'attachment; filename="call-{call}.pcap"'},
    )


async def _recorded(deps: HttpDeps, caller: Operator, call: CallId) -> tuple[CallRecord, Recording]:
    record = await visible_call(deps, caller, call)
    recording = await deps.recorder.find(record)
    if recording is not None and recording.messages:
        return record, recording
    if not deps.recorder.enabled:
        raise NotFound(
            "nothing was kept of this call's SIP: the recorder is off; recorder.enabled switches "
            "it on for calls to come"
        )
    raise NotFound(
        "nothing is kept of this call's SIP: it is older than recorder.keep_s, or the recorder "
        "was off"
    )


def _view(rung: Rung, record: CallRecord) -> SipMessageView:
    return SipMessageView(
        at=rfc3339(rung.at),
        ms=round((rung.at - record.started_at) * 1000.0, 3),
        source=rung.source,
        target=rung.target,
        hop=rung.hop,
        transport=rung.source_address.transport,
        from_address=str(rung.source_address),
        to_address=str(rung.target_address),
        start_line=rung.start_line,
        text=rung.text,
    )
