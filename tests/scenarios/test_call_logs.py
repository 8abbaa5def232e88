"""What an operator finds of a call in the service's log."""

import json
from typing import Any

from tests.lab.service import LabService

from .conftest import MakeExtension


def lines_about(service: LabService, call_id: str) -> list[dict[str, Any]]:
    """The log's lines that carry this call's id, oldest first."""
    lines = service.process.output().splitlines()
    return [json.loads(line) for line in lines if call_id in line]


async def test_each_turn_of_a_call_is_a_line_with_its_id(extension: MakeExtension) -> None:
    """From the INVITE to the BYE; the end says how, why, and whose fault it was."""
    ext = await extension()
    call, incoming = await ext.woken()
    incoming.ring()
    await call.expect(180)
    incoming.accept()
    dialog = await call.answered()
    await incoming.expect_ack()
    dialog.send("BYE")
    await incoming.dialog().expect_bye()
    record = await ext.record(call)
    lines = lines_about(ext.service, record["id"])
    assert [line["event"] for line in lines] == [
        "call -> waking",
        "call waking -> ringing",
        "call ringing -> answered",
        "call answered -> ended",
    ]
    assert all(line["call_id"] == record["id"] for line in lines)
    assert lines[0]["sip_call_id"] == record["sip_call_id"]
    assert lines[0]["account"] == ext.account
    assert (lines[-1]["verdict"], lines[-1]["fault"], lines[-1]["status"]) == (
        "answered",
        "nobody",
        200,
    )


async def test_a_call_that_fails_says_why(extension: MakeExtension) -> None:
    """The verdict stands in one line with the device that decided it."""
    ext = await extension(wake={"deadline_s": 5})
    call = ext.call()
    await ext.pushed()
    await call.expect(480, within=8)
    record = await ext.record(call)
    last = lines_about(ext.service, record["id"])[-1]
    assert last["event"].endswith("-> ended")
    assert (last["verdict"], last["fault"]) == ("not_woken", "phone_or_network")
    assert last["seconds"] >= 5


async def test_numbers_are_cut_short(extension: MakeExtension) -> None:
    """Enough to recognize a caller, too little to call back."""
    ext = await extension()
    call, incoming = await ext.woken(caller="+4915112345678")
    incoming.reject(486, "Busy Here")
    await call.expect(486)
    record = await ext.record(call)
    (first, *_) = lines_about(ext.service, record["id"])
    assert first["caller"] == "…678"
    assert "15112345678" not in ext.service.process.output()
