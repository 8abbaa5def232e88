"""Diversion (RFC 5806) and History-Info (RFC 7044): read from INVITEs, written into 302s."""

import pytest

from push_proxy.core.diversion import Diversions, diversions_of, headers
from push_proxy.core.message import parse
from push_proxy.core.model import Verdict

AOR = "sip:101@pbx.example"


def read(*lines: str, user: str = "101") -> Diversions:
    head = (
        f"INVITE sip:{user}@push.example:5060;pp=0a SIP/2.0",
        "From: <sip:200@192.0.2.7>;tag=1",
        f"To: <sip:{user}@pbx.example>",
        *lines,
    )
    return diversions_of(parse("\r\n".join((*head, "", "")).encode()), AOR)


@pytest.mark.parametrize(
    ("lines", "count", "from_here"),
    [
        ((), 0, False),
        (("Diversion: <sip:150@pbx.example>;reason=user-busy",), 1, False),
        (("Diversion: <sip:150@pbx.example>;reason=user-busy;counter=4",), 4, False),
        (
            (
                'Diversion: "A, B" <sip:150@pbx.example>;counter=2, <tel:+4470>;reason=away',
                "Diversion: sip:151@pbx.example;reason=unknown",
            ),
            4,
            False,
        ),
        (("Diversion: <sip:101@pbx.example>;reason=no-answer",), 1, True),
        (("Diversion: <sip:101@PBX.example:5070;user=phone>;reason=no-answer",), 1, True),
        (("Diversion: <sip:101@push.example>",), 1, True),
        (("Diversion: <sip:101@192.0.2.7>",), 1, True),
        (("Diversion: <tel:101>",), 1, True),
        (("Diversion: <sip:101@elsewhere.example>",), 1, False),
        (("Diversion: <sip:1010@pbx.example>",), 1, False),
        (("Diversion: <sip:150@pbx.example>;counter=many",), 1, False),
        (("Diversion: <sip:150@pbx.example>;counter=" + "9" * 9000,), 1, False),
        (("Diversion: <sip:150@pbx.example>;counter=0",), 1, False),
        (("Diversion: <<<",), 1, False),
    ],
)
def test_diversion_is_read(lines: tuple[str, ...], count: int, from_here: bool) -> None:
    """Counters add up, one without is one; the account is known at every host of the INVITE."""
    found = read(*lines)
    assert (found.count, found.from_here) == (count, from_here)


@pytest.mark.parametrize(
    ("value", "count", "from_here", "ends_here"),
    [
        ("<sip:101@pbx.example>;index=1", 0, False, True),
        ("<sip:200@pbx.example>;index=1, <sip:101@push.example>;index=1.1;rc=1", 0, False, True),
        (
            "<sip:150@pbx.example>;index=1, <sip:101@pbx.example>;index=1.1;mp=1",
            1,
            False,
            True,
        ),
        (
            "<tel:101>;index=1, <sip:15@x>;index=1.1;mp=1, <sip:101@push.example>;mp=1.1",
            2,
            True,
            True,
        ),
        ("<sip:101@pbx.example?Reason=SIP%3Bcause%3D486>;index=1, <sip:1@x>;index=1.1", 1, True, 0),
        ("<sip:101@pbx.example>;index=1, <sip:9@x;cause=486>;index=1.1", 1, True, False),
        ("<sip:9@x;cause=486>;index=1", 0, False, False),
        ("<>, <sip:101@pbx.example>;index=1.1", 1, False, True),
    ],
)
def test_history_is_read(value: str, count: int, from_here: bool, ends_here: bool) -> None:
    """An entry that the call has left is a diversion: it has a Reason, another is mapped from it,
    or the next one has a cause. The last one, the account itself, is none.
    """
    found = read(f"History-Info: {value}")
    assert (found.count, found.from_here, found.ends_here) == (count, from_here, bool(ends_here))


def test_the_longer_story_counts() -> None:
    """Both headers tell of the same diversions: they are not added up."""
    found = read(
        "Diversion: <sip:150@pbx.example>;counter=3",
        "History-Info: <sip:150@pbx.example>;index=1, <sip:101@pbx.example>;index=1.1;mp=1",
    )
    assert found.count == 3


@pytest.mark.parametrize(
    ("led", "reason", "cause"),
    [
        (None, "unconditional", 302),
        (Verdict.BUSY, "user-busy", 486),
        (Verdict.NO_ANSWER, "no-answer", 408),
        (Verdict.DECLINED, "deflection", 487),
        (Verdict.NOT_WOKEN, "unavailable", 503),
        (Verdict.NO_DEVICE, "unavailable", 503),
        (Verdict.DEVICE_ERROR, "unavailable", 503),
    ],
)
def test_a_first_diversion_is_written(led: Verdict | None, reason: str, cause: int) -> None:
    """Reason and cause say what led there (RFC 4458, RFC 7544)."""
    assert headers(read(), aor=AOR, led=led) == (
        f"<sip:101@pbx.example>;reason={reason};counter=1",
        f"<sip:101@pbx.example?Reason=SIP%3Bcause%3D{cause}>;index=1",
        "1",
    )


def test_a_further_diversion_is_written_before_and_after_the_older_ones() -> None:
    """Newest first in Diversion, oldest first in History-Info: the account's own entry there gets
    the reason, or is added with a zero for the hops that have told nothing (RFC 7044 §10.3).
    """
    older = "Diversion: <sip:150@pbx.example>;reason=away;counter=2"
    first = "<sip:150@pbx.example>;index=1"
    known = read(older, f"History-Info: {first}, <sip:101@push.example>;index=1.1;mp=1")
    diversion, history, index = headers(known, aor=AOR, led=Verdict.BUSY)
    assert diversion == (
        "<sip:101@pbx.example>;reason=user-busy;counter=1,"
        " <sip:150@pbx.example>;reason=away;counter=2"
    )
    assert history == f"{first}, <sip:101@pbx.example?Reason=SIP%3Bcause%3D486>;index=1.1"
    assert index == "1.1"
    unknown = read(f"History-Info: {first}")
    _, history, index = headers(unknown, aor=AOR, led=Verdict.BUSY)
    assert history == f"{first}, <sip:101@pbx.example?Reason=SIP%3Bcause%3D486>;index=1.0.1"
    assert index == "1.0.1"


def test_endless_stories_are_not_repeated() -> None:
    """The 302 stays small enough to leave, whatever the INVITE holds."""
    many = ", ".join(f"<sip:{user}@pbx.example>;index=1.{user}" for user in range(200))
    known = read(f"History-Info: {many}", f"Diversion: <sip:{'9' * 3000}@pbx.example>")
    assert headers(known, aor=AOR, led=None) == headers(read(), aor=AOR, led=None)


def test_what_is_written_is_read_as_diverted_from_here() -> None:
    """A PBX that copies either header of the 302 into its new INVITE closes no loop."""
    diversion, history, _ = headers(read(), aor=AOR, led=Verdict.BUSY)
    assert read(f"Diversion: {diversion}").from_here
    assert read(f"History-Info: {history}, <sip:150@x>;index=1.1;mp=1").from_here
