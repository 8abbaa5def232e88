"""compose.yaml: takes what the specification says, pins and checks everything, makes a call."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from push_proxy.health_probe import main as health
from push_proxy.settings_drain import DrainSection
from tests.lab.process import Process, poll_until

from .compose_file import COMPOSE, DEPLOY, REPOSITORY, Composed, mounts, read

CHECK_SCHEMA = Path(sys.executable).with_name("check-jsonschema")
SERVICES = read()["services"]
LASTING = [name for name, service in SERVICES.items() if not service.get("profiles")]
PINNED = re.compile(r"[a-z0-9./-]+:v?\d+\.\d+(\.\d+)?[a-z0-9.-]*(@sha256:[0-9a-f]{64})?")


def seconds(text: str) -> int:
    """`90s` as a number."""
    assert text.endswith("s")
    return int(text[:-1])


def test_it_is_a_compose_file() -> None:
    """By the compose specification's own JSON schema (Apache-2.0, comes with check-jsonschema)."""
    done = subprocess.run(
        [str(CHECK_SCHEMA), "--builtin-schema", "vendor.compose-spec", str(COMPOSE)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", SERVICES)
def test_every_image_is_pinned(name: str) -> None:
    """The same file brings the same versions tomorrow."""
    assert PINNED.fullmatch(SERVICES[name]["image"])


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_may_do_little(name: str) -> None:
    """No capability, no new privilege, no writable file system."""
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] is True
    assert not {"privileged", "cap_add", "network_mode", "pid"} & set(service)


@pytest.mark.parametrize("name", LASTING)
def test_a_service_says_whether_it_is_well(name: str) -> None:
    """By a health check of its own or of its image."""
    build = SERVICES[name].get("build", {})
    of_image = (REPOSITORY / build["dockerfile"]).read_text() if build else ""
    assert "test" in SERVICES[name].get("healthcheck", {}) or "\nHEALTHCHECK " in of_image


@pytest.mark.parametrize("name", SERVICES)
def test_what_is_mounted_exists(name: str) -> None:
    """Files of this repository, named volumes, or what make-env makes; nothing else."""
    volumes = read()["volumes"]
    for shown in mounts(SERVICES[name]).values():
        if shown.startswith("./compose/secrets/"):
            continue
        assert (DEPLOY / shown).is_file() if shown.startswith(".") else shown in volumes, shown


def test_a_missing_secret_is_told_and_none_has_a_default() -> None:
    """Each variable stops `docker compose` with what to do; no password stands in the file."""
    text = COMPOSE.read_text()
    used = re.findall(r"(?<!\$)\$(?!\$)(.*)", text)
    assert used
    for rest in used:
        assert re.match(r"\{\w+:\?run deploy/compose/make-env ADDRESS first\}", rest), rest
    for service in SERVICES.values():
        for variable, value in service.get("environment", {}).items():
            if re.search(r"PASSWORD|KEY|SECRET|URL", variable):
                assert "${" in value, variable


def test_waiting_calls_are_finished_before_the_engine_kills() -> None:
    """stop_grace_period is above drain.deadline_s, with time to say goodbye."""
    assert seconds(SERVICES["push-proxy"]["stop_grace_period"]) >= DrainSection().deadline_s + 15


def test_prometheus_takes_its_configuration_with_our_rules(tmp_path: Path) -> None:
    """As it is mounted: promtool reads the rules by the configuration's own path."""
    for inside, shown in mounts(SERVICES["prometheus"]).items():
        if shown.startswith("."):
            place = tmp_path / inside[1:]
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(DEPLOY / shown, place)
    done = subprocess.run(
        ["promtool", "check", "config", str(tmp_path / "etc/prometheus/prometheus.yml")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"[1-9]\d* rules found", done.stdout), done.stdout
    targets = (DEPLOY / "compose/prometheus.yml").read_text()
    assert f"{SERVICES['push-proxy']['networks']['sip']['ipv4_address']}:8080" in targets


def test_grafana_finds_prometheus_and_our_dashboard() -> None:
    """The data source is the default one and leads to Prometheus; the dashboard lies there."""
    shown = mounts(SERVICES["grafana"])
    provisioned = {Path(inside).parent.name for inside in shown if "provisioning" in inside}
    assert provisioned == {"datasources", "dashboards"}
    source = yaml.safe_load((DEPLOY / "compose/grafana/datasources.yaml").read_text())
    (prometheus,) = source["datasources"]
    address = SERVICES["prometheus"]["networks"]["sip"]["ipv4_address"]
    assert prometheus["isDefault"]
    assert prometheus["type"] == "prometheus"
    assert prometheus["url"] == f"http://{address}:9090"
    (provider,) = yaml.safe_load((DEPLOY / "compose/grafana/dashboards.yaml").read_text())[
        "providers"
    ]
    folder = Path(provider["options"]["path"])
    (inside,) = (Path(path) for path in shown if Path(path).parent == folder)
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == str(inside)
    assert json.loads((DEPLOY / shown[str(inside)]).read_text())["uid"] == "push-proxy"


@pytest.fixture
def composed(workdir: Path) -> Composed:
    """The file's services, on loopback."""
    return Composed(workdir)


def test_secrets_are_made_once_and_for_oneself(composed: Composed) -> None:
    """A second make-env changes nothing; others may not read the file."""
    made = composed.deploy / ".env"
    assert made.stat().st_mode & 0o077 == 0
    before = made.read_text()
    again = subprocess.run(
        [composed.deploy / "compose/make-env", "192.0.2.8"], capture_output=True, check=False
    )
    assert again.returncode == 1
    assert made.read_text() == before
    words = [value for name, value in composed.variables.items() if "PASSWORD" in name]
    assert len(set(words)) == len(words) == 3
    assert all(len(word) >= 24 for word in words)


async def test_the_services_of_the_file_make_a_call(composed: Composed) -> None:
    """By their own commands, configuration, health checks and scripts: Valkey with its password,
    the demo PBX, the service, a sleeping phone, and demo-call.
    """
    valkey = composed.process("valkey")
    kamailio = composed.process(
        "kamailio",
        str(composed.deploy / "compose/kamailio/start"),
        PBX_CONFIG=str(REPOSITORY / "push_proxy/demo/kamailio.cfg"),
    )
    for process, name in ((valkey, "valkey"), (kamailio, "kamailio")):
        process.start()
        if not await poll_until(lambda name=name: composed.is_healthy(name), within_s=10):
            raise process.failure("is not healthy")
    assert composed.variables["VALKEY_PASSWORD"] not in arguments_of(valkey)
    service, phone = composed.push_proxy(), composed.push_proxy("phone")
    service.start()
    phone.start()
    api = f"http://{composed.address('push-proxy')}:8080"
    ready = ["--url", api, "--ready"]
    if not await poll_until(lambda: health(ready) == 0 or not service.running, within_s=30):
        raise service.failure("is not ready")
    await phone.wait_for("asleep", within_s=10)
    caller = composed.push_proxy("caller")
    stand_in_for_docker(composed, caller)
    await asyncio.to_thread(composed.run_script, "demo-call", API=api)
    await phone.wait_for('"bye"', within_s=5)
    for process in (service, phone, kamailio, valkey):
        await process.stop()


def arguments_of(process: Process) -> str:
    """What everybody who lists processes sees."""
    return Path(f"/proc/{process.pid}/cmdline").read_text()


def stand_in_for_docker(composed: Composed, caller: Process) -> None:
    """`docker compose run caller` runs the caller's own command; `up phone` is done already."""
    settings = composed.environment("caller")
    variables = " ".join(f"{name}={shlex.quote(value)}" for name, value in settings.items())
    calls = f"{variables} exec {shlex.join(caller.argv)}"
    script = composed.bin / "docker"
    script.write_text(f'#!/bin/sh\ncase " $* " in *" run "*" caller "*) {calls} ;; esac\n')
    script.chmod(0o755)
