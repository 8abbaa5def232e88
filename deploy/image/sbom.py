"""The image's bill of materials, CycloneDX 1.6 as JSON on standard output.

    python sbom.py NATIVE.json >sbom.cdx.json

It lists the distributions of the interpreter that runs it, the Debian packages of the machine,
and what NATIVE.json says was compiled in. The same contents give the same text, but for the time
(SOURCE_DATE_EPOCH, else now). Needs nothing but the standard library.
"""

import json
import os
import re
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution, distributions
from pathlib import Path
from typing import Any
from urllib.parse import quote

Component = dict[str, Any]
NAME = "push-proxy"
_FIELDS = ("binary:Package", "Version", "Architecture", "source:Package", "db:Status-Status")
_LONGEST_LICENSE = 80


def python_components() -> Iterator[Component]:
    """Everything pip installed, ourselves left out."""
    for found in distributions():
        name = re.sub(r"[-_.]+", "-", found.metadata["Name"]).lower()
        if name == NAME:
            continue
        yield {
            "type": "library",
            "name": name,
            "version": found.version,
            "purl": f"pkg:pypi/{name}@{quote(found.version)}",
            **_licenses(found),
        }


def debian_components() -> Iterator[Component]:
    """Every installed Debian package."""
    wanted = "\\t".join(f"${{{field}}}" for field in _FIELDS) + "\\n"
    listed = subprocess.run(
        ["dpkg-query", "--show", f"--showformat={wanted}"],
        check=True,
        capture_output=True,
        text=True,
    )
    for line in listed.stdout.splitlines():
        name, version, architecture, source, status = line.split("\t")
        if status != "installed":
            continue
        bare = name.partition(":")[0]
        yield {
            "type": "library",
            "name": bare,
            "version": version,
            "purl": f"pkg:deb/debian/{bare}@{quote(version)}?arch={architecture}",
            "properties": [{"name": "debian:source", "value": source}],
        }


def native_components(noted: Path) -> Iterator[Component]:
    """What was compiled from source and linked in, as the build noted it."""
    for source in json.loads(noted.read_text()):
        yield {
            "type": "library",
            "name": source["name"],
            "version": source["version"],
            "purl": f"pkg:generic/{source['name']}@{source['version']}",
            "licenses": [{"expression": source["license"]}],
            "hashes": [{"alg": "SHA-256", "content": source["sha256"]}],
            "description": f"compiled in, from {source['file']}",
        }


def bill(components: list[Component], *, version: str, at_s: float) -> dict[str, Any]:
    """The document."""
    by_reference = {component["purl"]: component for component in components}
    listed = [
        {"bom-ref": reference, **by_reference[reference]} for reference in sorted(by_reference)
    ]
    contents = json.dumps(listed, sort_keys=True)
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, contents)}",
        "version": 1,
        "metadata": {
            "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at_s)),
            "component": {
                "type": "application",
                "bom-ref": f"pkg:pypi/{NAME}@{version}",
                "name": NAME,
                "version": version,
                "purl": f"pkg:pypi/{NAME}@{version}",
                "licenses": [{"expression": "GPL-3.0-or-later"}],
            },
        },
        "components": listed,
    }


def main(arguments: list[str]) -> None:
    """Print it."""
    (noted,) = arguments
    components = [*python_components(), *debian_components(), *native_components(Path(noted))]
    at_s = float(os.environ.get("SOURCE_DATE_EPOCH") or time.time())
    json.dump(bill(components, version=_own_version(), at_s=at_s), sys.stdout, indent=1)
    sys.stdout.write("\n")


def _licenses(found: Distribution) -> dict[str, Any]:
    if expression := _field(found, "License-Expression"):
        return {"licenses": [{"expression": expression}]}
    stated = _field(found, "License")
    if not stated or "\n" in stated or len(stated) > _LONGEST_LICENSE:
        # Some packages put the whole text there; the classifiers name it.
        classifiers = found.metadata.get_all("Classifier") or []
        names = [text.rpartition("::")[2].strip() for text in classifiers if "License ::" in text]
        stated = ", ".join(names)
    return {"licenses": [{"license": {"name": stated}}]} if stated else {}


def _field(found: Distribution, name: str) -> str:
    return str((found.metadata.get_all(name) or [""])[0])


def _own_version() -> str:
    try:
        return distribution(NAME).version
    except PackageNotFoundError:
        sys.exit(f"{NAME} is not installed for this interpreter: run it with the image's Python")


if __name__ == "__main__":
    main(sys.argv[1:])
