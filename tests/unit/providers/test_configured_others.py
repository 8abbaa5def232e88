"""Web Push, Huawei and RuStore from the configuration, with their secrets in files."""

from pathlib import Path
from typing import Any

import pytest

from push_proxy.configured_providers import configured_providers
from push_proxy.errors import ConfigurationError
from push_proxy.settings import Settings
from tests.doubles.pushes import APP, CLOCK
from tests.doubles.webpush import vapid_key_file


def entries(tmp_path: Path) -> dict[str, dict[str, Any]]:
    secret = tmp_path / "secret"
    secret.write_text("a secret of ours\n".replace(" ", "-"))
    vapid_key_file(tmp_path / "vapid.pem")
    return {
        "webpush": {
            "vapid_key_file": str(tmp_path / "vapid.pem"),
            "subject": "https://example.com/contact",
        },
        "hms": {"hms_app_id": "104567890", "client_secret_file": str(secret)},
        "rustore": {"project_id": "project", "service_token_file": str(secret)},
    }


def settings(section: dict[str, Any]) -> Settings:
    return Settings.model_validate({"providers": section})


async def test_all_three_are_made(tmp_path: Path) -> None:
    """Each entry makes its app; nothing runs and nothing is sent."""
    section = {name: [{"app_id": APP, **entry}] for name, entry in entries(tmp_path).items()}
    made = configured_providers(settings(section), CLOCK)
    assert {provider.name for provider in made} == {"webpush", "hms", "rustore"}
    for provider in made:
        assert provider.serves(APP)
        assert not provider.serves("other")
        assert [health.app_id for health in provider.health()] == [APP]
        await provider.aclose()


@pytest.mark.parametrize(
    ("provider", "field"),
    [
        ("webpush", "vapid_key_file"),
        ("webpush", "ca_file"),
        ("hms", "client_secret_file"),
        ("hms", "ca_file"),
        ("rustore", "service_token_file"),
        ("rustore", "ca_file"),
    ],
)
@pytest.mark.parametrize("content", [None, b""])
def test_files_that_cannot_be_used(
    tmp_path: Path, provider: str, field: str, content: bytes | None
) -> None:
    """A missing or empty file is named with its setting before the service starts."""
    entry = {"app_id": APP, **entries(tmp_path)[provider]}
    bad = tmp_path / "bad"
    if content is not None:
        bad.write_bytes(content)
    section = {provider: [entry, {**entry, "app_id": "second", field: str(bad)}]}
    with pytest.raises(ConfigurationError) as caught:
        configured_providers(settings(section), CLOCK)
    assert field in str(caught.value)
    assert str(bad) in str(caught.value)
    if field != "ca_file":
        assert f"providers.{provider}[1].{field}: " in str(caught.value)
