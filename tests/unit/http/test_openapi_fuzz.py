"""schemathesis: the API does what its OpenAPI document says, whatever it is sent."""

import asyncio
import gzip
from contextlib import AsyncExitStack

import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.config import (
    ChecksConfig,
    GenerationConfig,
    PositiveDataAcceptanceConfig,
    ProjectConfig,
    ProjectsConfig,
    SchemathesisConfig,
)
from schemathesis.specs.openapi.checks import negative_data_rejection

from .conftest import Api

EXAMPLES = 12
KNOWN = {"account": "101", "device": "d1", "call": "call-1", "log": "log-1"}


@schemathesis.serializer("application/x-ndjson")
def ndjson(ctx: schemathesis.SerializationContext, value: object) -> bytes:
    """The import's rows are text already."""
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")


@schemathesis.serializer("application/gzip")
def packed(ctx: schemathesis.SerializationContext, value: object) -> bytes:
    """A log of an app."""
    return gzip.compress(value if isinstance(value, bytes) else str(value).encode())


def configuration() -> SchemathesisConfig:
    """All checks. A body may be right by its schema and still be refused: pbx or registrar, a
    secret for an enabled account, a token the first time cannot be said in JSON Schema.
    """
    refused = ["2xx", "401", "403", "404", "409", "412", "422"]
    checks = ChecksConfig(
        positive_data_acceptance=PositiveDataAcceptanceConfig(expected_statuses=refused)
    )
    generation = GenerationConfig(deterministic=True, max_examples=EXAMPLES)
    project = ProjectConfig(checks=checks, generation=generation)
    return SchemathesisConfig(projects=ProjectsConfig(default=project))


async def _made() -> Api:
    api = Api(
        {"auth_failures_per_minute": 100_000, "requests_per_second": 100_000}, AsyncExitStack()
    )
    await api.start(load=False)
    return api


API = asyncio.run(_made())
# The live feed never ends by itself, and nothing here reads an answer before its end.
schema = schemathesis.openapi.from_asgi("/openapi.json", API.app, config=configuration()).exclude(
    path="/v1/live"
)


async def _things() -> None:
    """What the requests are about: it is there again before each of them."""
    API.clock.time += 10  # so that nothing runs into a limit
    await API.account()
    await API.device()
    await API.call_record()
    await API.missed_call()
    await API.dead_letter()
    await API.app_log()


@schema.parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
def test_the_api_keeps_its_own_contract(case: schemathesis.Case) -> None:
    """No 5xx, only documented statuses, headers and bodies, wrong data refused, keys needed."""
    asyncio.run(_things())
    if case.meta is not None and case.meta.generation.mode.is_positive:
        case.path_parameters = {name: KNOWN[name] for name in case.path_parameters}
    # On the wire every body of an import is text: a wrong row is told in its result.
    is_text = case.operation.path == "/v1/accounts:import"
    excluded = [negative_data_rejection] if is_text else []
    case.call_and_validate(headers={"Authorization": "Bearer all"}, excluded_checks=excluded)
