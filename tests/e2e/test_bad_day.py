"""The operator's bad day: what is wrong is said in one message that names it, and status 2."""

import hashlib
import os
import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from tests.lab.ports import free_port
from tests.lab.process import Process
from tests.lab.push_sink import PushSink
from tests.lab.service import LabService, ServiceOptions

from .conftest import StartService

Refused = Callable[..., Awaitable[str]]


@pytest.fixture
def refused(workdir: Path) -> Refused:
    """Runs `push-proxy serve` on a configuration that it must refuse; what it said."""

    async def run(config: dict[str, Any] | str, *, status: int = 2, **env: str) -> str:
        file = workdir / "push-proxy.yaml"
        file.write_text(config if isinstance(config, str) else yaml.safe_dump(config))
        process = Process(
            [sys.executable, "-m", "push_proxy", "serve"],
            name="push-proxy",
            log=workdir / "refused.log",
            env={"PUSH_PROXY_CONFIG": str(file), **env},
        )
        process.start()
        assert await process.wait_exit(within_s=15) == status, process.output()
        assert "Traceback" not in process.output()
        return process.output()

    return run


def minimal(workdir: Path, **sections: Any) -> dict[str, Any]:
    config: dict[str, Any] = {
        "node": {"id": "proxy-1", "data_dir": str(workdir / "data")},
        "sip": {
            "listen": [f"udp:127.0.0.1:{free_port()}"],
            "public_address": "127.0.0.1",
            "node_address": "127.0.0.1",
        },
        "http": {"listen": f"127.0.0.1:{free_port()}"},
    }
    for name, section in sections.items():
        config[name] = {**config.get(name, {}), **section}
    return config


async def test_sip_port_in_use(refused: Refused, workdir: Path) -> None:
    """The SIP port is taken: the message names the address and says what to do."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        said = await refused(minimal(workdir, sip={"listen": [f"udp:127.0.0.1:{port}"]}))
    assert f"127.0.0.1:{port}" in said
    assert "in use" in said
    assert "sip.listen" in said


async def test_http_port_in_use(refused: Refused, workdir: Path) -> None:
    """The same for the API's port, and for the console's."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        for key in ("listen", "admin_listen"):
            said = await refused(minimal(workdir, http={key: address}))
            assert address in said
            assert f"http.{key}" in said
            assert "in use" in said


async def test_unknown_key(refused: Refused, workdir: Path) -> None:
    """A key that does not exist is refused by its full name, in the file and in the environment."""
    said = await refused(minimal(workdir, wake={"dead_line_s": 20}))
    assert "wake.dead_line_s" in said
    said = await refused(minimal(workdir, wakes={}))
    assert "wakes" in said
    said = await refused(minimal(workdir), PUSH_PROXY_WAKE__DEADLINES="20")
    assert "PUSH_PROXY_WAKE__DEADLINES" in said or "wake.deadlines" in said


async def test_value_out_of_range(refused: Refused, workdir: Path) -> None:
    """Every wrong value is named at once, not one at a time."""
    said = await refused(minimal(workdir, wake={"deadline_s": 1, "fresh_s": "soon"}))
    assert "wake.deadline_s" in said
    assert "wake.fresh_s" in said


async def test_malformed_yaml(refused: Refused, workdir: Path) -> None:
    """Broken YAML: the file and the line are named."""
    said = await refused("node: {id: proxy-1\nsip: [\n")
    assert "push-proxy.yaml" in said
    assert "line" in said


async def test_no_configuration_file(refused: Refused, workdir: Path) -> None:
    """A configuration file that is not there is named."""
    missing = str(workdir / "nowhere.yaml")
    said = await refused({}, PUSH_PROXY_CONFIG=missing)
    assert missing in said


async def test_later_key(refused: Refused, workdir: Path) -> None:
    """A key of a later version is refused, not ignored."""
    said = await refused(minimal(workdir, http={"tls": {"certificate": "c.pem"}}))
    assert "http.tls" in said


async def test_unusable_data_dir(refused: Refused, workdir: Path) -> None:
    """A data directory that cannot be made or written is named."""
    file = workdir / "file"
    file.write_text("not a directory")
    said = await refused(minimal(workdir, node={"data_dir": str(file / "data")}))
    assert str(file / "data") in said
    assert "node.data_dir" in said
    said = await refused(minimal(workdir, node={"data_dir": "/proc/push-proxy"}))
    assert "/proc/push-proxy" in said


async def test_data_dir_in_use(
    refused: Refused, workdir: Path, start_service: StartService, push_sink: PushSink
) -> None:
    """Two services on one data directory: the second one names it and the first one's process."""
    first = await start_service(ServiceOptions(webhook_url=push_sink.url))
    said = await refused(minimal(workdir, node={"data_dir": str(first.directory / "data")}))
    assert str(first.directory / "data") in said
    assert str(first.process.pid) in said or "in use" in said
    await first.wait_ready()


async def test_missing_key_file(refused: Refused, workdir: Path) -> None:
    """A webhook's key file that is not there is named by key and path."""
    entry = {"app_id": "a", "url": "http://127.0.0.1:1/", "hmac_key_file": str(workdir / "no.key")}
    said = await refused(minimal(workdir, providers={"webhook": [entry]}))
    assert "providers.webhook[0].hmac_key_file" in said
    assert str(workdir / "no.key") in said


async def test_redis_of_the_wrong_kind(refused: Refused, workdir: Path) -> None:
    """A redis.url that is none is refused with what it should look like."""
    said = await refused(minimal(workdir, redis={"url": "http://127.0.0.1:6379"}))
    assert "redis.url" in said


async def test_check_config(workdir: Path) -> None:
    """check-config shows what a configuration comes to, and refuses as serve does."""
    file = workdir / "push-proxy.yaml"
    env = {"PUSH_PROXY_CONFIG": str(file)}
    command = [sys.executable, "-m", "push_proxy", "check-config"]
    file.write_text(yaml.safe_dump(minimal(workdir)))
    good = Process(command, name="check-config", log=workdir / "good.log", env=env)
    good.start()
    assert await good.wait_exit(within_s=15) == 0
    assert "can be used" in good.output()
    file.write_text(yaml.safe_dump(minimal(workdir, wake={"no": 1})))
    bad = Process(command, name="check-config", log=workdir / "bad.log", env=env)
    bad.start()
    assert await bad.wait_exit(within_s=15) == 2
    assert "wake.no" in bad.output()


async def test_malformed_json(own_service: LabService) -> None:
    """Broken JSON, another content type, and a wrong field get a problem document that says
    which; the service goes on.
    """
    headers = {"Authorization": f"Bearer {own_service.api_key}"}
    async with aiohttp.ClientSession(own_service.url, headers=headers) as session:
        for body, kind, expected in (
            (b'{"aor": ', "application/json", {400, 422}),
            (b"[]", "application/json", {422}),
            (b'{"aor": 5}', "application/json", {422}),
            (b"\xff\xfe", "application/json", {400, 422}),
            (b"aor=x", "application/x-www-form-urlencoded", {400, 415, 422}),
        ):
            async with session.put(
                "/v1/accounts/a", data=body, headers={"Content-Type": kind}
            ) as response:
                assert response.status in expected, body
                assert response.content_type == "application/problem+json"
                problem = await response.json()
                assert problem["detail"] or problem["errors"]
        async with session.put(
            "/v1/accounts/a", json={"aor": "sip:a@b", "registrar": "sip:b", "pasword": "x"}
        ) as response:
            problem = await response.json()
            assert response.status == 422
            assert [error["field"] for error in problem["errors"]] == ["pasword"]
    status, _ = await own_service.request("GET", "/healthz")
    assert status == 200


async def test_reload_refused(own_service: LabService) -> None:
    """SIGHUP with a broken configuration: told in the log by its key, the old one goes on; with a
    good one the new API key works.
    """
    good = own_service.config.read_text()
    own_service.config.write_text(good + "\nwakes: {}\n")
    os.kill(own_service.process.pid, 1)
    await own_service.process.wait_for("wakes.*reload refused", within_s=5)
    assert (await own_service.request("GET", "/v1/accounts"))[0] == 200
    config = yaml.safe_load(good)
    own_service.api_key = "another key that is long enough"
    assert (await own_service.request("GET", "/v1/accounts"))[0] == 401
    digest = hashlib.sha256(own_service.api_key.encode()).hexdigest()
    config["http"]["api_keys"][0]["key_sha256"] = digest
    own_service.config.write_text(yaml.safe_dump(config))
    os.kill(own_service.process.pid, 1)
    await own_service.process.wait_for("configuration reloaded", within_s=5)
    assert (await own_service.request("GET", "/v1/accounts"))[0] == 200


async def test_first_api_key(workdir: Path) -> None:
    """Without a configured API key the first start makes one and shows it once; it works, and a
    second start does not show it again.
    """
    service = LabService(workdir / "service", ServiceOptions(extra={"http": {"api_keys": []}}))
    try:
        await service.start()
        found = await service.process.wait_for(r"Authorization: Bearer (\S+)", within_s=5)
        service.api_key = found[1]
        assert (await service.request("GET", "/v1/accounts"))[0] == 200
        await service.stop()
        mark = service.process.output_size()
        await service.start()
        assert found[1] not in service.process.output(since=mark)
        assert (await service.request("GET", "/v1/accounts"))[0] == 200
    finally:
        await service.stop()
