"""In which language an answer speaks."""

from collections.abc import Collection
from typing import Annotated

from fastapi import Header, Query

LanguageQuery = Annotated[
    str | None,
    Query(
        pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8})*$",
        max_length=35,
        description="Of `advice` and `advice_steps`: before Accept-Language, the account's "
        "`language` and English.",
        examples=["it"],
    ),
]
AcceptLanguage = Annotated[
    str | None,
    Header(alias="Accept-Language", max_length=1000, description="As `language`, which wins."),
]


def chosen(
    offered: Collection[str], *, asked: str | None, accepted: str | None, account: str | None
) -> str:
    """The first of these that is offered; English when none is."""
    wishes = (asked or "", *_by_quality(accepted or ""), account or "")
    primary = (wish.partition("-")[0].lower() for wish in wishes)
    return next((language for language in primary if language in offered), "en")


def _by_quality(accepted: str) -> list[str]:
    """Languages of an Accept-Language header, most wanted first (RFC 9110 §12.5.4)."""
    found: list[tuple[float, str]] = []
    for item in accepted.split(","):
        language, _, parameter = item.partition(";")
        name, _, value = parameter.partition("=")
        quality = _quality(value.strip()) if name.strip() == "q" else 1.0
        if quality > 0:
            found.append((-quality, language.strip()))
    return [language for _, language in sorted(found, key=lambda each: each[0])]


def _quality(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
