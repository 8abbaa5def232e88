"""advice.yaml and files that stand for it: complete in every language, or refused with reasons."""

import re
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import yaml

from push_proxy.advice.check import LANGUAGES, faults_of
from push_proxy.advice.texts import load_texts
from push_proxy.core.advice_details import NAMES
from push_proxy.core.causes import Cause
from push_proxy.core.model import Verdict
from push_proxy.core.outcome import advice_by_verdict
from push_proxy.core.vendors import VendorGroup
from push_proxy.errors import ConfigurationError

OURS = load_texts(None)
DETAILS = {name: f"<{name}>" for name in NAMES}
CYRILLIC = re.compile(r"[\u0400-\u04ff]")


@pytest.fixture
def content() -> dict[str, Any]:
    """Our own file, to be spoilt."""
    text = (resources.files("push_proxy") / "advice" / "advice.yaml").read_text("utf-8")
    loaded: dict[str, Any] = yaml.load(text, Loader=yaml.CSafeLoader)
    return loaded


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("cause", list(Cause))
def test_every_cause_speaks_every_language(cause: Cause, language: str) -> None:
    """One sentence, and steps for every group of phones; nothing is left in braces."""
    sentence = OURS.sentence(cause, language, DETAILS)
    assert sentence.endswith(".")
    assert len(sentence) < 200, "nobody reads more"
    for group in VendorGroup:
        steps = OURS.steps(cause, language, group, DETAILS)
        assert steps, "whatever the phone, there is something to do"
        assert len(steps) <= 6
        for text in (sentence, *steps):
            assert "{" not in text
            assert text.endswith(".")
            assert bool(CYRILLIC.search(text)) is (language == "ru"), text


def test_languages_differ() -> None:
    """No text was left in another language."""
    for cause in Cause:
        assert len({OURS.sentence(cause, language, DETAILS) for language in LANGUAGES}) == 4
    for name, step in OURS.steps_by_name.items():
        assert len({step[language] for language in LANGUAGES}) == 4, name


@pytest.mark.parametrize("verdict", list(Verdict))
def test_verdicts_say_the_same_as_ever(verdict: Verdict) -> None:
    """English advice by the verdict alone is what records hold; other languages have it, too."""
    english = advice_by_verdict(verdict)
    assert OURS.verdict(verdict, "en") == english
    for language in LANGUAGES:
        assert bool(OURS.verdict(verdict, language)) is bool(english)


def test_a_vendor_without_steps_of_its_own_gets_the_general_ones() -> None:
    """A Pixel's are Android's where nothing else is said, and Android's are any phone's."""
    general = OURS.steps(Cause.DEAD_TOKEN, "en", VendorGroup.ANY, DETAILS)
    assert OURS.steps(Cause.DEAD_TOKEN, "en", VendorGroup.XIAOMI, DETAILS) == general
    android = OURS.steps(Cause.NO_SOUND, "en", VendorGroup.ANDROID, DETAILS)
    assert OURS.steps(Cause.NO_SOUND, "en", VendorGroup.PIXEL, DETAILS) == android
    xiaomi = OURS.steps(Cause.BACKGROUND_RESTRICTED, "en", VendorGroup.XIAOMI, DETAILS)
    assert "Autostart" in xiaomi[0]


def test_an_unknown_language_is_english() -> None:
    """And an unknown cause, of a newer node say, is left to its verdict."""
    assert OURS.sentence(Cause.NO_SOUND, "de", DETAILS) == OURS.sentence(
        Cause.NO_SOUND, "en", DETAILS
    )
    assert OURS.sentence("solar_flare", "en", DETAILS) == ""
    assert OURS.steps("solar_flare", "en", VendorGroup.ANY, DETAILS) == ()


def _drop(*path: str) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        *holders, last = path
        place: Any = content
        for name in holders:
            place = place[name]
        del place[last]

    return change


def _put(value: Any, *path: str) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        *holders, last = path
        place: Any = content
        for name in holders:
            place = place[name]
        place[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (_drop("causes", "no_sound"), "causes.no_sound: is missing"),
        (_drop("causes", "no_sound", "text", "it"), "causes.no_sound.text.it: is missing"),
        (_drop("steps", "open_app", "ru"), "steps.open_app.ru: is missing"),
        (_drop("verdicts", "not_woken", "fr"), "verdicts.not_woken.fr: is missing"),
        (_drop("verdicts"), "verdicts: is missing"),
        (_drop("causes"), "causes: is missing"),
        (_drop("causes", "no_sound", "steps"), "causes.no_sound: needs exactly text and steps"),
        (_drop("causes", "no_sound", "steps", "any"), "needs a list for any"),
        (_put("x", "causes", "no_sound", "steps", "any"), "must be a list of names"),
        (_put(["nap"], "causes", "no_sound", "steps", "any"), "there is no 'nap' in steps"),
        (_put([], "causes", "no_sound", "steps", "nokia"), "nokia: unknown; there are xiaomi"),
        (_put({}, "causes", "solar_flare"), "causes.solar_flare: unknown cause"),
        (_put({}, "verdicts", "unlucky"), "verdicts.unlucky: unknown; there are answered"),
        (_put(7, "steps", "open_app", "en"), "steps.open_app.en: must be a sentence"),
        (_put("a", "steps", "open_app"), "steps.open_app: must have a sentence for each of en"),
        (_put("In {city}.", "steps", "open_app", "en"), "{city} is not known; there are {count}"),
        (_put("A { b.", "steps", "open_app", "en"), "write {{ and }}"),
        (_put("{reason.x}", "steps", "open_app", "en"), "{reason.x} is not known"),
        (_put("{reason:>9}", "steps", "open_app", "en"), "{reason} is not known"),
        (_put({}, "hints"), "hints: unknown section"),
    ],
)
def test_faults_are_named_with_their_place(
    content: dict[str, Any], change: Callable[[dict[str, Any]], None], fault: str
) -> None:
    """Whoever edits the file is told which line of thought is incomplete."""
    change(content)
    assert any(fault in found for found in faults_of(content)), list(faults_of(content))


def test_our_own_file_has_no_fault(content: dict[str, Any]) -> None:
    """And no step that nobody uses."""
    assert list(faults_of(content)) == []
    lists = [names for cause in content["causes"].values() for names in cause["steps"].values()]
    assert {name for names in lists for name in names} == set(content["steps"])


def test_an_own_file_may_say_more(tmp_path: Path, content: dict[str, Any]) -> None:
    """Another wording, and a language that not every text has."""
    content["causes"]["no_sound"]["text"] |= {"en": "Hush on {device}.", "de": "Stumm."}
    file = tmp_path / "advice.yaml"
    file.write_text(yaml.safe_dump(content, allow_unicode=True), "utf-8")
    texts = load_texts(file)
    assert texts.languages == ("de", "en", "fr", "it", "ru")
    assert texts.sentence("no_sound", "en", DETAILS) == "Hush on <device>."
    assert texts.sentence("no_sound", "de", DETAILS) == "Stumm."
    assert texts.sentence("lock_screen", "de", DETAILS).startswith("The app may not")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (None, "cannot be read: No such file"),
        (b"\xff\xfe", "is no UTF-8 text"),
        (b"a: [", "is no YAML"),
        (b"- a", "is no mapping"),
        (b"", "is no mapping"),
    ],
)
def test_a_file_that_cannot_be_used(tmp_path: Path, text: bytes | None, fault: str) -> None:
    """The error names the file and what is wrong."""
    file = tmp_path / "advice.yaml"
    if text is not None:
        file.write_bytes(text)
    with pytest.raises(ConfigurationError, match=fault) as caught:
        load_texts(file)
    assert str(file) in str(caught.value)


def test_the_documentation_has_every_cause() -> None:
    """docs/advice.md: each cause with the evidence it needs and what is said of it."""
    text = (Path(__file__).parents[3] / "docs" / "advice.md").read_text("utf-8")
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| `")]
    told = {row[0].strip("| `"): row[-1].removesuffix(" |") for row in rows}
    for cause in Cause:
        assert told.get(cause) == OURS.causes[cause].text["en"]
