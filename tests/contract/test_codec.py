"""What is stored is the same JSON whichever encoder wrote it."""

import json
from dataclasses import replace

import pytest

from push_proxy.core.model import CallRecord
from push_proxy.store.codec import Codec

from .conftest import RING
from .samples import call


@pytest.mark.parametrize("caller", ["100", "J\u00f6rg \u2603 \U0001f4de", 'quo"te\\\r\n\x00', ""])
def test_a_record_is_plain_json(caller: str) -> None:
    """Any reader of JSON finds each field under its own name, and the form's version."""
    codec, record = Codec(RING), call(1_000.5, caller=caller)
    stored = codec.encode(record, "call-1")
    plain = json.loads(stored)
    assert (plain["_v"], plain["caller"], plain["state"]) == (1, caller, record.state.value)
    assert plain["timeline"][0]["event"] == record.timeline[0].event
    assert codec.decode(CallRecord, stored, "call-1") == record


def test_text_that_is_no_unicode_is_stored() -> None:
    """Half of a surrogate pair, which UTF-8 cannot say, comes back as it was."""
    codec = Codec(RING)
    record = replace(call(1_000.0), caller_name="\udc80 caller")
    assert codec.decode(CallRecord, codec.encode(record, "call-1"), "call-1") == record
