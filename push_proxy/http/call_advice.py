"""A call's advice as people read it: made when it is asked for, in their language."""

from dataclasses import dataclass

from ..advice.texts import Texts
from ..core.advice import case_of
from ..core.advice_details import details_of
from ..core.model import CallRecord, Outcome
from ..core.outcome import advice_by_verdict

_ENGLISH = "en"


@dataclass(frozen=True, slots=True)
class Advice:
    """One sentence, and what to do."""

    text: str = ""
    steps: tuple[str, ...] = ()


def advice_for(record: CallRecord, texts: Texts, language: str) -> Advice:
    """By the call's cause; without one, by its verdict."""
    outcome = record.outcome
    if outcome is None:
        return Advice()
    case = case_of(record) if outcome.cause else None
    if case is not None:
        details = details_of(case)
        text = texts.sentence(outcome.cause, language, details)
        if text:
            return Advice(text, texts.steps(outcome.cause, language, case.group, details))
    return Advice(_by_verdict(outcome, texts, language))


def _by_verdict(outcome: Outcome, texts: Texts, language: str) -> str:
    verdict = outcome.led_by or outcome.verdict
    says_more = outcome.advice != advice_by_verdict(verdict)
    if says_more and (language == _ENGLISH or not texts.verdict(verdict, language)):
        return outcome.advice
    return texts.verdict(verdict, language)
