"""``policy`` of an account, as it is given and shown."""

from typing import Annotated, Any, Self

from pydantic import BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator
from pydantic.config import JsonDict

from ..core.policy_answer import STATUSES
from ..core.policy_rules import Policy, Rejection, Rule, When
from ..core.redirect_target import allowed, is_account
from ..core.uri import MalformedUri
from ..errors import InvalidInput
from .fields import Body

_PATTERN = r"^[\x21-\x7e]+$"
_Pattern = Annotated[str, Field(pattern=_PATTERN, min_length=1, max_length=128)]
_WORDS = [when.value for when in When]
_MOST_RULES, _MOST_CALLERS, _MOST_TARGETS = 100, 500, 100


def _moments(value: object) -> list[str]:
    """One word, or a list of verdicts. Pydantic's own error for a union names no remedy."""
    words = [value] if isinstance(value, str) else value
    if not isinstance(words, list) or not words:
        raise ValueError('must be "always", a verdict or a list of verdicts')
    if any(word not in _WORDS for word in words):
        raise ValueError(f"must be of: {', '.join(_WORDS)}")
    if len(words) > 1 and When.ALWAYS.value in words:
        raise ValueError("always stands alone: no verdict comes after it")
    return list(dict.fromkeys(words))


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _one_or_list(one: dict[str, Any], most: int) -> dict[str, Any]:
    return {"anyOf": [one, {"type": "array", "items": one, "minItems": 1, "maxItems": most}]}


_When = Annotated[
    list[str],
    BeforeValidator(_moments),
    WithJsonSchema(_one_or_list({"type": "string", "enum": _WORDS}, len(_WORDS))),
]
_Callers = Annotated[
    list[_Pattern],
    BeforeValidator(_listed),
    Field(min_length=1, max_length=_MOST_CALLERS),
    WithJsonSchema(
        _one_or_list(
            {"type": "string", "pattern": _PATTERN, "minLength": 1, "maxLength": 128},
            _MOST_CALLERS,
        )
    ),
]


class RejectBody(Body):
    """The answer that the caller gets."""

    status: Annotated[int, Field(json_schema_extra={"enum": sorted(STATUSES)})]
    reason: Annotated[str, Field(pattern=r"^[\x20-\x7e]+$", min_length=1, max_length=64)] | None = (
        Field(None, description="Reason phrase. Default: the usual one.")
    )

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.status not in STATUSES:
            known = ", ".join(map(str, sorted(STATUSES)))
            raise ValueError(f"status must be one of {known}")
        return self


class RuleBody(Body):
    """One rule: when, for whom, and either where to or which answer."""

    when: _When = Field(
        description="`always`: as the INVITE comes, before any push. A verdict, or several: "
        "when the call would otherwise end so."
    )
    caller: _Callers | None = Field(
        None,
        description="Pattern or patterns of the caller's number (`*` any text, `?` one "
        "character); one with `@` is for `user@host`. Default: whoever calls.",
        examples=["+4420*"],
    )
    redirect: Annotated[str, Field(min_length=5, max_length=255)] | None = Field(
        None,
        description="`sip:user@host` or `tel:number`: the PBX gets 302.",
        examples=["sip:800@pbx.example.com"],
    )
    reject: RejectBody | None = None

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if (self.redirect is None) == (self.reject is None):
            raise ValueError("give either redirect (a URI) or reject (a status)")
        return self


_EXAMPLE: JsonDict = {
    "rules": [
        {"when": "always", "caller": ["+4420794600*"], "reject": {"status": 486}},
        {"when": ["not_woken", "no_device"], "redirect": "tel:+442079460000"},
        {"when": "busy", "redirect": "sip:800@pbx.example.com"},
    ],
    "targets": ["sip:*@pbx.example.com", "tel:+44*"],
}


class PolicyBody(Body):
    """What becomes of calls that nobody takes, or shall take: the first rule that fits counts."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    rules: Annotated[list[RuleBody], Field(max_length=_MOST_RULES)] = Field([])
    targets: Annotated[list[_Pattern], Field(max_length=_MOST_TARGETS)] = Field(
        [],
        description="Patterns of where calls may go: of `sip:user@host[:port]` or `tel:number`.",
    )


def policy_of(body: PolicyBody, aor: str) -> Policy:
    """The policy of the account ``aor``. Raises `errors.InvalidInput` that names the rule."""
    targets = tuple(body.targets)
    rules = []
    for place, given in enumerate(body.rules):
        if given.redirect is not None:
            _check_target(given.redirect, targets, aor=aor, place=place)
        rules.append(_rule(given))
    return Policy(rules=tuple(rules), targets=targets)


def shown(policy: Policy) -> PolicyBody:
    """The policy as a PUT would give it."""
    return PolicyBody(
        rules=[_shown(rule) for rule in policy.rules],
        targets=list(policy.targets),
    )


def _rule(given: RuleBody) -> Rule:
    reject = given.reject
    return Rule(
        when=tuple(map(When, given.when)),
        callers=tuple(given.caller or ()),
        redirect=given.redirect,
        reject=None if reject is None else Rejection(reject.status, reject.reason or ""),
    )


def _shown(rule: Rule) -> RuleBody:
    reject = rule.reject
    return RuleBody(
        when=[when.value for when in rule.when],
        caller=list(rule.callers) or None,
        redirect=rule.redirect,
        reject=None
        if reject is None
        else RejectBody(status=reject.status, reason=reject.reason or None),
    )


def _check_target(target: str, patterns: tuple[str, ...], *, aor: str, place: int) -> None:
    field = f"policy.rules.{place}.redirect"
    try:
        fault = "is the account itself" if is_account(target, aor) else ""
        if not fault and not allowed(target, patterns):
            known = ", ".join(patterns) or "there is none"
            fault = f"fits no pattern of policy.targets ({known}): add one"
    except MalformedUri as error:
        fault = f"must be sip:user@host or tel:number ({error})"
    if fault:
        raise InvalidInput(f"rule {place + 1}: redirect {fault}", field=field)
