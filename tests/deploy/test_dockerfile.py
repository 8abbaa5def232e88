"""The image's Dockerfiles by our rules and hadolint's, and its bill of materials."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
from cyclonedx.output import OutputFormat
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation import make_schemabased_validator

REPOSITORY = Path(__file__).parents[2]
MAIN = REPOSITORY / "deploy/Dockerfile"
DOCKERFILES = [MAIN, REPOSITORY / "deploy/compose/kamailio/Dockerfile"]
STEPS = REPOSITORY / "deploy/image/steps"
HADOLINT = Path(sys.executable).with_name("hadolint")


def instructions(file: Path) -> list[tuple[str, str]]:
    """Instruction and arguments, lines joined, comments left out."""
    lines = [line for line in file.read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [tuple(line.split(None, 1)) for line in joined.splitlines() if line.strip()]  # type: ignore[misc]


def all_of(file: Path, name: str) -> list[str]:
    """The arguments of every such instruction."""
    return [arguments for found, arguments in instructions(file) if found == name]


def last_stage(file: Path) -> list[tuple[str, str]]:
    """What becomes the image."""
    found = instructions(file)
    start = max(index for index, (name, _) in enumerate(found) if name == "FROM")
    return found[start:]


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.parent.name)
def test_hadolint_has_nothing_to_say(file: Path) -> None:
    """The usual mistakes, and those in its shell commands."""
    done = subprocess.run([str(HADOLINT), str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.parent.name)
def test_every_base_has_a_full_version(file: Path) -> None:
    """Never `latest`, and no tag that moves to another release."""
    settings = dict(argument.split("=", 1) for argument in all_of(file, "ARG") if "=" in argument)
    for base in all_of(file, "FROM"):
        name = base.split()[0]
        if variable := re.fullmatch(r"\$\{(\w+)\}", name):
            name = settings[variable.group(1)]
        assert re.fullmatch(r"debian:12\.\d+-slim(@sha256:[0-9a-f]{64})?", name), name


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.parent.name)
def test_it_runs_as_a_fixed_user_that_is_not_root(file: Path) -> None:
    """By number: an orchestrator that forbids root can see it, and volumes keep their owner."""
    users = [arguments for name, arguments in last_stage(file) if name == "USER"]
    assert users
    assert re.fullmatch(r"[1-9]\d{4,}:[1-9]\d{4,}", users[-1])
    steps = STEPS.read_text()
    if file == MAIN:
        assert re.search(rf"USER_ID={users[-1].split(':')[0]}\b", steps)


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.parent.name)
def test_an_engine_can_see_and_end_it(file: Path) -> None:
    """A health check, SIGTERM, and a program that gets the signal itself (no shell between)."""
    stage = dict(last_stage(file))
    assert re.search(r'CMD \["', stage["HEALTHCHECK"])
    assert stage["STOPSIGNAL"] == "SIGTERM"
    assert stage["ENTRYPOINT"].startswith("[")


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.parent.name)
def test_no_secret_and_nothing_unchecked_gets_in(file: Path) -> None:
    """No ADD (which fetches), no secret in ARG or ENV, no copy of the whole folder."""
    found = instructions(file)
    assert "ADD" not in {name for name, _ in found}
    for name, arguments in found:
        if name in {"ARG", "ENV"}:
            assert not re.search(r"PASSW|SECRET|TOKEN|KEY", arguments, re.IGNORECASE)
        if name == "COPY":
            assert arguments.split()[-2] not in {".", "./"}


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.parent.name)
def test_what_is_copied_exists_and_is_not_ignored(file: Path) -> None:
    """`.dockerignore` lets in these paths and no more."""
    ignored = (REPOSITORY / ".dockerignore").read_text().splitlines()
    assert "*" in ignored
    allowed = [line[1:] for line in ignored if line.startswith("!")]
    for copied in all_of(file, "COPY"):
        *sources, _ = copied.split()
        if sources[0].startswith("--from"):
            continue
        for source in sources:
            assert (REPOSITORY / source).exists(), source
            assert any(source == name or source.startswith(f"{name}/") for name in allowed), source


def test_every_step_is_a_step_of_the_script() -> None:
    """Nothing is done in the Dockerfile that prove-image's script does not do."""
    known = set(re.findall(r"^    ([a-z-]+)\) ", STEPS.read_text(), re.MULTILINE))
    called: list[str] = []
    for command in all_of(MAIN, "RUN"):
        program, *steps = command.split()
        assert program.endswith("image/steps")
        called += steps
    assert set(called) == known
    assert STEPS.stat().st_mode & 0o111


def test_the_build_needs_what_dev_installs() -> None:
    """One list of packages for developers and image."""

    def packages(file: Path) -> set[str]:
        listed = re.search(r"^readonly BUILD_PACKAGES=\(([^)]*)\)", file.read_text(), re.MULTILINE)
        assert listed
        return set(listed.group(1).split())

    own = {"python3", "python3-dev", "python3-venv", "debian-archive-keyring"}
    assert packages(STEPS) - own == packages(REPOSITORY / "dev")


def test_the_labels_tell_version_licence_and_bill_of_materials() -> None:
    """The version is that of the Python package."""
    labels = " ".join(arguments for name, arguments in last_stage(MAIN) if name == "LABEL")
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert f'org.opencontainers.image.version="{project["version"]}"' in labels
    assert f'org.opencontainers.image.licenses="{project["license"]}"' in labels
    assert 'push-proxy.sbom.path="/usr/share/push-proxy/sbom.cdx.json"' in labels
    assert "$SHARE/sbom.cdx.json" in STEPS.read_text()


@pytest.fixture(scope="module")
def sbom() -> ModuleType:
    """The script that writes the bill."""
    spec = importlib.util.spec_from_file_location("sbom", REPOSITORY / "deploy/image/sbom.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_bill_of_materials_is_cyclonedx(tmp_path: Path) -> None:
    """By CycloneDX' own JSON schema; with Python's and Debian's packages and what was compiled."""
    noted = tmp_path / "native.json"
    source = {"name": "pjproject", "version": "2.17", "license": "GPL-2.0-or-later"}
    noted.write_text(json.dumps([source | {"file": "pjproject.tar.gz", "sha256": "0" * 64}]))
    script = REPOSITORY / "deploy/image/sbom.py"
    made = subprocess.run(
        [sys.executable, str(script), str(noted)], capture_output=True, text=True, check=True
    ).stdout
    validator = make_schemabased_validator(OutputFormat.JSON, SchemaVersion.V1_6)
    assert validator.validate_str(made) is None
    names = {component["name"] for component in json.loads(made)["components"]}
    assert {"pjproject", "redis", "libssl3", "bash"} <= names


def test_the_same_contents_have_the_same_bill(sbom: ModuleType) -> None:
    """In any order; another version is another bill."""
    one = {"type": "library", "name": "a", "version": "1", "purl": "pkg:pypi/a@1"}
    two = {"type": "library", "name": "b", "version": "1", "purl": "pkg:pypi/b@1"}
    bill = sbom.bill([one, two], version="1", at_s=0.0)
    assert bill == sbom.bill([two, one], version="1", at_s=0.0)
    newer = {**two, "version": "2", "purl": "pkg:pypi/b@2"}
    assert bill["serialNumber"] != sbom.bill([one, newer], version="1", at_s=0.0)["serialNumber"]


def test_the_wheel_has_every_file_of_the_package() -> None:
    """Texts, scripts, the console, the demo's PBX: what is no Python is named in pyproject.toml."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    package = REPOSITORY / "push_proxy"
    patterns = project["tool"]["setuptools"]["package-data"]["push_proxy"]
    packed = {file for pattern in patterns for file in package.glob(pattern)}
    tracked = subprocess.run(
        ["git", "ls-files", "push_proxy"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    data = {REPOSITORY / name for name in tracked if not name.endswith(".py")}
    assert data
    assert data <= packed, data - packed
