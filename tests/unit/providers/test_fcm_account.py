"""Service account files: what is wrong with one is said with the setting's name, and what to do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from push_proxy.configured_providers import configured_providers
from push_proxy.errors import ConfigurationError
from push_proxy.providers.fcm_account import TOKEN_URI, read_service_account
from push_proxy.settings import Settings
from tests.doubles.fcm import FcmDouble

from .fcm_pushes import CLOCK

NAME = "providers.fcm[0].service_account_file"


def test_good_file(fcm: FcmDouble) -> None:
    """Project, account and token endpoint are read; the key stays hidden."""
    account = read_service_account(NAME, fcm.service_account_file)
    assert (account.project_id, account.email) == ("lab-project", fcm.first_account.email)
    assert account.token_uri == fcm.token_uri
    assert fcm.first_account.key_id not in repr(account)


def test_google_s_token_endpoint(fcm: FcmDouble, tmp_path: Path) -> None:
    """A file that names none means Google's."""
    assert read(tmp_path, fcm, token_uri=None).token_uri == TOKEN_URI


def read(tmp_path: Path, fcm: FcmDouble, **changed: object):  # type: ignore[no-untyped-def]  # noqa: ANN201
    said = json.loads(fcm.service_account_file.read_text()) | changed
    file = tmp_path / "account.json"
    file.write_text(json.dumps({name: value for name, value in said.items() if value is not None}))
    return read_service_account(NAME, file)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"type": "authorized_user"}, "is of type 'authorized_user', not service_account"),
        ({"type": None}, "has no type"),
        ({"type": None, "project_info": {}, "client": []}, "google-services.json"),
        ({"project_id": None}, "names no project_id"),
        ({"client_email": ""}, "names no client_email"),
        ({"private_key": "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n"},
         "no usable private_key"),
        ({"private_key": 1}, "no usable private_key"),
        ({"private_key": None}, "no usable private_key"),
    ],
    ids=str,
)  # fmt: skip
def test_bad_content(tmp_path: Path, fcm: FcmDouble, changed: dict[str, object], said: str) -> None:
    """The setting is named, and where to get a good file."""
    with pytest.raises(ConfigurationError, match="Firebase console") as caught:
        read(tmp_path, fcm, **changed)
    assert said in str(caught.value)
    assert str(caught.value).startswith(f"{NAME}: {tmp_path}")
    assert "c2VjcmV0" not in str(caught.value)


def test_unreadable(tmp_path: Path) -> None:
    """No file, no JSON, no object."""
    with pytest.raises(ConfigurationError, match=r"cannot read .*No such file"):
        read_service_account(NAME, tmp_path / "none.json")
    for text in ("{", "[]", "\xff"):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(ConfigurationError, match="is no JSON object"):
            read_service_account(NAME, tmp_path / "bad.json")


async def test_from_the_configuration(fcm: FcmDouble, tmp_path: Path) -> None:
    """`providers.fcm` makes one provider of all its apps; a bad file is named by its place."""
    entry = {
        "app_id": "com.example.phone",
        "service_account_file": str(fcm.service_account_file),
        "sender_id": "1234",
        "base_url": fcm.base_url,
        "ca_file": str(fcm.ca_file),
    }
    other = entry | {"app_id": "com.example.tablet", "service_account_file": str(tmp_path / "no")}
    settings = Settings.model_validate({"providers": {"fcm": [entry]}})
    [provider] = configured_providers(settings, CLOCK)
    assert provider.name == "fcm"
    assert provider.app_for("1234") == provider.app_for("lab-project") == "com.example.phone"
    await provider.aclose()
    settings = Settings.model_validate({"providers": {"fcm": [entry, other]}})
    with pytest.raises(ConfigurationError, match=r"providers\.fcm\[1\]\.service_account_file"):
        configured_providers(settings, CLOCK)
