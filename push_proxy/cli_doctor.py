"""``push-proxy doctor``: lines for people as they are found, or one JSON object."""

import asyncio
import dataclasses
import json
import sys
from typing import TextIO

from .doctor.examination import examine
from .doctor.finding import Finding, State
from .observability.logs import configure_logs


def run_doctor(*, as_json: bool, out: TextIO, progress: TextIO) -> bool:
    """Examine the set-up that the configuration describes; True when nothing failed."""
    # The adapters' own lines would only repeat what the findings say.
    configure_logs("error", stream=sys.stderr, json=False)
    findings: list[Finding] = []

    def tell(finding: Finding) -> None:
        findings.append(finding)
        if not as_json:
            out.write(_line(finding))
            out.flush()

    def begin(hop: str) -> None:
        if as_json or not out.isatty():
            progress.write(f"{hop} …\n")
            progress.flush()
        else:
            out.write(f"{hop}\n")

    good = asyncio.run(examine(tell, begin=begin))
    if as_json:
        told = [dataclasses.asdict(finding) for finding in findings]
        out.write(f"{json.dumps({'ok': good, 'findings': told})}\n")
    else:
        out.write(_summary(findings))
    return good


def _line(finding: Finding) -> str:
    text = finding.text.replace("\n", "\n        ")
    return f"  {finding.state.value:<4}  {finding.hop}: {finding.what}: {text}\n"


def _summary(findings: list[Finding]) -> str:
    failed = sum(finding.state is State.FAIL for finding in findings)
    hints = sum(finding.state is State.HINT for finding in findings)
    if not failed:
        return f"Nothing is wrong ({len(findings)} checks, {hints} hints).\n"
    return f"{failed} of {len(findings)} checks FAILED ({hints} hints).\n"
