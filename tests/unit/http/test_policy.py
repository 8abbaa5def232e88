"""``policy`` of an account by HTTP: what is taken, shown, refused, exported and imported."""

import json
from typing import Any

import pytest

from push_proxy.core.ids import AccountId, account_key
from push_proxy.core.policy_rules import Policy, Rejection, Rule, When

from .conftest import ACCOUNT, TENANT, Api

KEY = account_key(TENANT, AccountId("101"))
POLICY: dict[str, Any] = {
    "rules": [
        {"when": "always", "caller": "+4420*", "reject": {"status": 486, "reason": "Go away"}},
        {"when": ["not_woken", "busy"], "redirect": "sip:800@pbx.example.com;transport=tcp"},
        {"when": "no_device", "caller": ["1?1", "*@b.example"], "redirect": "tel:+447"},
    ],
    "targets": ["sip:*@pbx.example.com", "tel:+44*"],
}


def redirecting(target: str, *targets: str) -> dict[str, Any]:
    return {"rules": [{"when": "busy", "redirect": target}], "targets": list(targets)}


async def put(api: Api, policy: object) -> Any:
    return await api.call("PUT", "/v1/accounts/101", {**ACCOUNT, "policy": policy})


async def test_a_policy_is_kept_and_shown(api: Api) -> None:
    """What was PUT is what the calls are judged by, and what GET shows; the same again changes
    nothing; a PUT without it takes it away.
    """
    made = await put(api, POLICY)
    assert made.status_code == 201, made.text
    account = api.directory.account(KEY)
    assert account is not None
    assert account.policy == Policy(
        rules=(
            Rule(when=(When.ALWAYS,), callers=("+4420*",), reject=Rejection(486, "Go away")),
            Rule(
                when=(When.NOT_WOKEN, When.BUSY), redirect="sip:800@pbx.example.com;transport=tcp"
            ),
            Rule(when=(When.NO_DEVICE,), callers=("1?1", "*@b.example"), redirect="tel:+447"),
        ),
        targets=("sip:*@pbx.example.com", "tel:+44*"),
    )
    shown = (await api.call("GET", "/v1/accounts/101")).json()["policy"]
    assert [rule["when"] for rule in shown["rules"]] == [
        ["always"],
        ["not_woken", "busy"],
        ["no_device"],
    ]
    assert shown["rules"][0]["reject"] == {"status": 486, "reason": "Go away"}
    again = await put(api, POLICY)
    assert (again.status_code, again.headers["ETag"]) == (200, made.headers["ETag"])
    assert (await put(api, shown)).headers["ETag"] == made.headers["ETag"]
    without = await api.account()
    assert without.json()["policy"] == {"rules": [], "targets": []}


async def test_a_policy_survives_export_and_import(api: Api) -> None:
    """An exported row imports to the very same account."""
    await put(api, POLICY)
    export = await api.call("GET", "/v1/accounts:export")
    row = json.loads(export.text)
    assert row["policy"]["targets"] == POLICY["targets"]
    answer = await api.call("POST", "/v1/accounts:import", content=export.content)
    first, *_ = map(json.loads, answer.text.splitlines())
    assert first["result"] == "unchanged", first


async def test_a_wrong_rule_of_an_imported_row_is_named(api: Api) -> None:
    """The row's result says which rule and why."""
    row = {**ACCOUNT, "account": "101", "policy": redirecting("sip:1@elsewhere.example")}
    answer = await api.call("POST", "/v1/accounts:import", content=json.dumps(row).encode())
    first, *_ = map(json.loads, answer.text.splitlines())
    assert first["result"] == "failed"
    assert "rule 1: redirect fits no pattern" in first["detail"]


@pytest.mark.parametrize(
    ("policy", "field", "text"),
    [
        ({"rule": []}, "policy.rule", "unknown field"),
        ({"rules": [{"when": "always"}]}, "policy.rules.0", "rule 1: give either redirect"),
        (
            {"rules": [POLICY["rules"][0], {**POLICY["rules"][0], "redirect": "tel:+44"}]},
            "policy.rules.1",
            "rule 2: give either redirect",
        ),
        (
            {"rules": [{"when": "never", "reject": {"status": 486}}]},
            "policy.rules.0.when",
            "rule 1: must be of: always, not_woken",
        ),
        (
            {"rules": [{"when": ["always", "busy"], "reject": {"status": 486}}]},
            "policy.rules.0.when",
            "rule 1: always stands alone",
        ),
        ({"rules": [{"when": [], "reject": {"status": 486}}]}, "policy.rules.0.when", "rule 1: "),
        ({"rules": [{"when": 7, "reject": {"status": 486}}]}, "policy.rules.0.when", "rule 1: "),
        (
            {"rules": [{"when": "answered", "reject": {"status": 486}}]},
            "policy.rules.0.when",
            "rule 1: must be of",
        ),
        (
            {"rules": [{"when": "busy", "reject": {"status": 407}}]},
            "policy.rules.0.reject",
            "rule 1: status must be one of 403, 404",
        ),
        (
            {"rules": [{"when": "busy", "reject": {"status": 486, "reason": "a\r\nVia: x"}}]},
            "policy.rules.0.reject.reason",
            "rule 1: ",
        ),
        (
            {"rules": [{"when": "busy", "callers": "1", "reject": {"status": 486}}]},
            "policy.rules.0.callers",
            "rule 1: unknown field",
        ),
        (
            {"rules": [{"when": "busy", "caller": "", "reject": {"status": 486}}]},
            "policy.rules.0.caller.0",
            "rule 1: ",
        ),
        (redirecting("sip:1@pbx.example.com"), "policy.rules.0.redirect", "there is none"),
        (
            redirecting("sip:1@evil.example", "sip:*@pbx.example.com"),
            "policy.rules.0.redirect",
            "fits no pattern of policy.targets (sip:*@pbx.example.com)",
        ),
        (redirecting("sip:101@pbx.example.com", "*"), "policy.rules.0.redirect", "account itself"),
        (
            redirecting("SIP:101@PBX.example.com:5070;transport=tcp", "*"),
            "policy.rules.0.redirect",
            "account itself",
        ),
        (redirecting("tel:101", "*"), "policy.rules.0.redirect", "account itself"),
        (redirecting("mailto:a@b.example", "*"), "policy.rules.0.redirect", "must be sip:"),
        (redirecting("sip:pbx.example.com", "*"), "policy.rules.0.redirect", "needs a user"),
        (redirecting("tel:ring-me", "*"), "policy.rules.0.redirect", "takes a number alone"),
        (redirecting("tel:+44;ext=1", "*"), "policy.rules.0.redirect", "takes a number alone"),
        (
            redirecting("sip:1@pbx.example.com;maddr=192.0.2.66", "*"),
            "policy.rules.0.redirect",
            "parameter maddr",
        ),
        (
            redirecting("sip:1@pbx.example.com?Route=%3Csip:x%3E", "*"),
            "policy.rules.0.redirect",
            "headers",
        ),
    ],
)
async def test_a_wrong_policy_is_refused_by_rule_and_field(
    api: Api, policy: dict[str, Any], field: str, text: str
) -> None:
    """422 names the rule, counted from 1, and the field; nothing is stored."""
    refused = await put(api, policy)
    assert refused.status_code == 422, refused.text
    (error, *_) = refused.json()["errors"]
    assert error["field"] == field
    assert text in error["message"]
    assert text in refused.json()["detail"]
    assert api.directory.accounts() == ()
