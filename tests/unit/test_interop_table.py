"""docs/rfc/interop.md says what is tested: every name in it is a test, and none of a method is
missing.
"""

import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests"
TABLE = ROOT / "docs/rfc/interop.md"
PHONES = {"scripted", "baresip", "pjsua2", "SIPp", "Linphone"}
TRANSPORTS = ("UDP", "TCP", "TLS")
CLAIM = re.compile(r"`([\w/]+\.py)::(test_\w+)`((?: (?:UDP|TCP|TLS))+)")


def rows() -> list[tuple[str, str, str]]:
    """Situation, phone, and the text of all cells, of each row."""
    found = []
    for line in TABLE.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if line.startswith("| ") and cells[0] != "method or situation":
            found.append((cells[0], cells[1].strip(), " ".join(cells[2:])))
    return found


def claims() -> set[tuple[str, str, str]]:
    """File under `tests/`, test and transport of every name in the table."""
    return {
        (file, test, transport)
        for _, _, text in rows()
        for file, test, transports in CLAIM.findall(text)
        for transport in transports.split()
    }


@cache
def collected() -> dict[tuple[str, str], list[str]]:
    """The ids of each test that the table names, as pytest collects them."""
    files = sorted({str(TESTS / file) for file, _, _ in claims()})
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
    run = subprocess.run([*command, *files], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout[-3000:]
    ids: dict[tuple[str, str], list[str]] = {}
    for line in run.stdout.splitlines():
        file, separator, name = line.removeprefix("tests/").partition("::")
        if separator:
            test, _, parameters = name.partition("[")
            ids.setdefault((file, test), []).append(parameters.rstrip("]"))
    return ids


def test_every_row_can_be_read() -> None:
    """A phone, and in its cells nothing but tests with their transports."""
    assert len(rows()) > 40
    for situation, phone, text in rows():
        assert phone in PHONES, situation
        rest = CLAIM.sub("", text).replace("<br>", "").replace("|", "").strip()
        assert rest == "", f"{situation}, {phone}: {rest}"


def test_every_name_is_a_test() -> None:
    """Pytest collects it."""
    missing = {(file, test) for file, test, _ in claims()} - set(collected())
    assert missing == set()


def test_every_transport_is_tested() -> None:
    """A test that varies its transport does so over what the table says; one that does not runs
    over UDP, unless its file speaks of the other.
    """
    wrong = []
    for file, test, transport in sorted(claims()):
        words = {
            word for one in collected().get((file, test), []) for word in re.split(r"[-_]", one)
        }
        varies = words & {name.lower() for name in TRANSPORTS}
        if transport.lower() in varies or (not varies and transport == "UDP"):
            continue
        if varies or transport.lower() not in (TESTS / file).read_text().lower():
            wrong.append(f"{file}::{test} {transport}")
    assert wrong == []


@pytest.mark.parametrize("file", sorted(TESTS.glob("e2e/test_methods_*.py")), ids=lambda f: f.stem)
def test_no_method_is_missing(file: Path) -> None:
    """Every test of a method stands in the table."""
    named = {test for name, test, _ in claims() if name == f"e2e/{file.name}"}
    written = set(re.findall(r"^async def (test_\w+)\(", file.read_text(), re.MULTILINE))
    assert written - named == set()
