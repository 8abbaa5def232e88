"""The setting ``advice.file``: checked with the rest of the configuration."""

from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import yaml

from push_proxy.errors import ConfigurationError
from push_proxy.reloading import need_restart, taken_over
from push_proxy.settings_file import check


@pytest.fixture
def own(tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """A copy of our own texts, as an operator would begin."""
    text = (resources.files("push_proxy") / "advice" / "advice.yaml").read_text("utf-8")
    file = tmp_path / "advice.yaml"
    file.write_text(text, "utf-8")
    return file, yaml.load(text, Loader=yaml.CSafeLoader)


def test_a_copy_can_be_used(own: tuple[Path, dict[str, Any]]) -> None:
    """Also by a reload: nothing has to be restarted for other words."""
    file, _ = own
    settings = check({"advice": {"file": str(file)}})
    assert settings.advice.file == file
    before = check({})
    assert taken_over(before, settings).advice.file == file
    assert need_restart(before, settings) == ()


def test_each_fault_is_told(own: tuple[Path, dict[str, Any]]) -> None:
    """With the key, the file, and the place in the file."""
    file, content = own
    del content["causes"]["no_sound"]["text"]["ru"]
    del content["causes"]["late_push"]
    file.write_text(yaml.safe_dump(content), "utf-8")
    with pytest.raises(ConfigurationError) as caught:
        check({"advice": {"file": str(file)}})
    told = str(caught.value).splitlines()
    assert f"advice.file: {file}: causes.late_push: is missing" in told
    assert f"advice.file: {file}: causes.no_sound.text.ru: is missing" in told


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """Told at the start, not at the first call."""
    with pytest.raises(ConfigurationError, match=r"advice\.file: .* cannot be read"):
        check({"advice": {"file": str(tmp_path / "none.yaml")}})
