"""The systemd unit: taken by systemd, hardened as far as it says, and a call works within it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from push_proxy.settings_drain import DrainSection
from tests.lab.process import Process
from tests.lab.service import LabService

from .one_call import one_call, scene
from .sandbox import allowed, directives

SYSTEMD = Path(__file__).parents[2] / "deploy" / "systemd"
UNIT = SYSTEMD / "push-proxy.service"
PROGRAM = "/opt/push-proxy/bin/push-proxy"
EXPOSURE = 15
"""`systemd-analyze security` in tenths: 15 is 1.5 of 10. What remains is that it has a network."""


def one(name: str) -> str:
    """A directive that stands there once."""
    (value,) = directives(UNIT, name)
    return value


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The unit with a program that this machine has."""
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace(PROGRAM, "/bin/true"))
    return unit


def analyze(*arguments: str) -> str:
    """systemd-analyze; its output. Fails the test when it is not content."""
    done = subprocess.run(
        ["systemd-analyze", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_systemd_takes_the_unit_without_a_warning(installed: Path) -> None:
    """An unknown directive would be ignored at run time, silently unsafe."""
    assert UNIT.name not in analyze("verify", "--man=no", str(installed))


def test_it_is_hardened(installed: Path) -> None:
    """At most 1.5 of 10 by systemd's own measure."""
    security = ("security", "--offline=true", "--no-pager", f"--threshold={EXPOSURE}")
    assert "Overall exposure level" in analyze(*security, str(installed))


def test_a_killed_service_is_back_before_its_calls_are_lost() -> None:
    """Held calls are rebuilt within 5 s; a wrong configuration is not tried again for ever."""
    assert one("Restart") == "on-failure"
    assert float(one("RestartSec")) <= 1
    assert one("RestartPreventExitStatus") == "2"


def test_waiting_calls_are_finished_before_systemd_kills() -> None:
    """TimeoutStopSec is above drain.deadline_s, and SIGTERM goes to the service alone."""
    assert int(one("TimeoutStopSec")) >= DrainSection().deadline_s + 15
    assert one("KillMode") == "mixed"


def test_the_user_comes_from_the_file_beside_it(tmp_path: Path) -> None:
    """systemd-sysusers makes the user that the unit names."""
    (tmp_path / "etc").mkdir()
    users = str(SYSTEMD / "push-proxy.sysusers")
    done = subprocess.run(
        ["systemd-sysusers", f"--root={tmp_path}", users], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert f"\n{one('User')}:" in "\n" + (tmp_path / "etc/passwd").read_text()


async def test_a_call_works_under_the_system_call_filter(workdir: Path) -> None:
    """Embedded Valkey, SIP, push, the relayed call and the end, with nothing else allowed."""
    assert not {"mount", "ptrace", "setpriority", "bpf"} & allowed(UNIT)

    def confined(service: LabService) -> Process:
        plain = service.process
        return Process(
            [plain.argv[0], "-m", "tests.deploy.sandbox", str(UNIT), *plain.argv],
            name="push-proxy",
            log=plain.log,
            env={"PUSH_PROXY_CONFIG": str(service.config)},
        )

    async with scene(workdir, confined) as running:
        await one_call(running)
    assert "not permitted" not in running.service.process.output()
