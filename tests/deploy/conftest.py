"""Fixtures for the chart: Helm, and the chart rendered with every set of values that we ship."""

from collections.abc import Iterator

import pytest

from tests.deploy.chart import EXAMPLES, Helm, Release, example


@pytest.fixture(scope="session")
def helm() -> Iterator[Helm]:
    pytest.importorskip("helm_python", reason="Helm has no wheel for this machine")
    with Helm() as running:
        yield running


@pytest.fixture(params=["defaults", *EXAMPLES])
def release(request: pytest.FixtureRequest, helm: Helm) -> Release:
    """Every example, and the chart as it comes."""
    return helm.release(example(request.param))
