"""The chart as Helm renders it, for the tests of helm/push-proxy."""

import functools
import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "push-proxy"
EXAMPLES = {
    path.stem: path
    for path in sorted((CHART / "examples").glob("*.yaml"))
    if path.stem != "prometheus-adapter-values"
}
NAME, NAMESPACE = "pp", "voip"

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""Ten times as fast, where PyYAML was built with it."""

Values = dict[str, Any]
Object = dict[str, Any]


class Refused(AssertionError):
    """Helm would not install it; the text is what the operator reads."""


@dataclass(frozen=True, slots=True)
class Release:
    """What `helm install` would send."""

    objects: tuple[Object, ...]
    notes: str

    def all(self, kind: str) -> list[Object]:
        """Those of a kind."""
        return [found for found in self.objects if found["kind"] == kind]

    def one(self, kind: str, name: str = "push-proxy") -> Object:
        """The one that is called so, after the release's name."""
        (found,) = (o for o in self.all(kind) if o["metadata"]["name"] == f"{NAME}-{name}")
        return found

    @property
    def pod(self) -> Object:
        """The spec of a node's pod."""
        template: Object = self.one("StatefulSet")["spec"]["template"]
        return dict(template["spec"])

    @property
    def container(self) -> Object:
        """The only one in it."""
        (found,) = self.pod["containers"]
        return dict(found)

    @property
    def config_text(self) -> str:
        """The service's configuration."""
        return str(self.one("ConfigMap")["data"]["push-proxy.yaml"])

    @property
    def config(self) -> Object:
        """The same, read."""
        return dict(yaml.safe_load(self.config_text))

    def pod_specs(self) -> Iterator[Object]:
        """Of whatever runs."""
        for found in self.objects:
            if found["kind"] == "Pod":
                yield found["spec"]
            elif "template" in found.get("spec", {}):
                yield found["spec"]["template"]["spec"]


class Helm:
    """Helm in a process of its own: Go's runtime keeps away from the SIP stack's threads."""

    def __init__(self) -> None:
        self._pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
        self._rendered: dict[str, Release | str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pool.shutdown()

    def release(self, values: Values) -> Release:
        """Raises `Refused` when the schema or a template says no."""
        key = json.dumps(values, sort_keys=True)
        if key not in self._rendered:
            self._rendered[key] = _release(self._pool.submit(_render, values).result())
        found = self._rendered[key]
        if isinstance(found, str):
            raise Refused(found)
        return found

    def refusal(self, values: Values) -> str:
        """Why Helm refuses these values. Fails when it does not."""
        try:
            self.release(values)
        except Refused as refused:
            return str(refused)
        raise AssertionError(f"Helm takes {values}")

    def lint(self, values: Values) -> list[str]:
        """What `helm lint --strict` says, apart from its wish for an icon."""
        return self._pool.submit(_lint, values).result()


@functools.cache
def _example(name: str) -> str:
    return EXAMPLES[name].read_text() if name in EXAMPLES else "{}"


def example(name: str, /, **more: Any) -> Values:
    """An example's values with some others; "defaults" are none."""
    return merged(yaml.safe_load(_example(name)), more)


def merged(values: Mapping[str, Any], more: Mapping[str, Any]) -> Values:
    """As Helm does with several files: mappings are merged, all else is replaced."""
    found = dict(values)
    for key, value in more.items():
        old = found.get(key)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        found[key] = merged(old, value) if both else value
    return found


def _release(rendered: dict[str, str] | str) -> Release | str:
    if isinstance(rendered, str):
        return rendered
    notes = rendered.pop("push-proxy/templates/NOTES.txt")
    documents = (yaml.load_all(text, Loader=_LOADER) for text in rendered.values())
    return Release(tuple(found for each in documents for found in each if found), notes)


def _render(values: Values) -> dict[str, str] | str:
    """In Helm's process: files by name, or why not."""
    import helm_python

    with helm_python.Chart.load(CHART) as chart:
        try:
            return chart.render(values, name=NAME, namespace=NAMESPACE, is_install=True)
        except helm_python.HelmError as error:
            return str(error)


def _lint(values: Values) -> list[str]:
    import helm_python

    found = helm_python.lint(CHART, values, strict=True)
    said = [f"{message['path']}: {message['error']}" for message in found["messages"]]
    return [*found["errors"], *(line for line in said if "icon is recommended" not in line)]
