"""What may be refused although the API's description allows it.

Schemathesis's own check wants every request that fits the description to be accepted. Some rules
cannot be said in a JSON Schema; their codes are listed here with the reason. Any other refusal of a
valid request means that the description says too little.
"""

import re

import schemathesis
from schemathesis.specs.openapi.checks import positive_data_acceptance

BEYOND_A_SCHEMA = {
    "core.cursor": "a cursor is sealed; only one that we handed out opens",
    "core.idempotency_mismatch": "which keys were used before",
    "core.null_byte": "no text may hold U+0000, in every body and query",
    "core.past": "which moments are past changes",
    "core.stale": "which version is the newest",
    "core.unknown": "the service accounts of this tenant",
    "identity.unknown_permission": "the permissions of the modules that run",
    "identity.unknown_role": "the roles of this tenant",
    "webhooks.future": "which moments are to come changes",
    "webhooks.reserved_type": "the words that modules own",
    "webhooks.url_refused": "which addresses may be called",
}

# Rules that a schema could say and ours does not yet: code, place, what it should say. Strike a line
# when it does.
NOT_YET_DESCRIBED = [
    ("core.rule", r"POST /auth/(register|login) /email", "format: email"),
    ("identity.password_length", r"POST /auth/register /password", "minLength 12, maxLength 256"),
    ("core.format", r"POST /auth/register /tenantSlug", "a pattern for slugs"),
    ("core.required", r"PATCH /auth/me /name", "not nullable"),
    ("core.rule", r"POST /api-keys /scopes", "minItems 1"),
    ("core.format", r"POST /api-keys /allowedIps/\d+", "a pattern for addresses and networks"),
    (
        "core.rule",
        r"(POST|PATCH) /(auth/register|auth/me|tenant|service-accounts|api-keys) /(name|tenantName)",
        "a pattern for names: not empty, no spaces around it, no control characters",
    ),
    ("core.rule", r"POST /events (/\d+)?/type", "a pattern for types of events"),
    ("core.rule", r"POST /events (/\d+)?/id", "minLength 1"),
    ("core.rule", r"(POST|PATCH) /webhooks(/{id})? /events/\d+", "a pattern for filters"),
    ("core.required", r"PATCH /tenant /(name|slug)", "not nullable"),
    ("core.required", r"POST /tenant/clock ", "oneOf: `to`, `advanceS`"),
    ("core.type", r"POST /tenant/clock /advanceS", "3.0 is an integer to a schema, not to us"),
]


@schemathesis.check
def valid_requests_are_accepted(ctx, response, case):
    """As `positive_data_acceptance`, but for the rules above."""
    if response.status_code in (412, 422) and all(may_be_refused(case, *error) for error in errors(response)):
        return None
    return positive_data_acceptance(ctx, response, case)


def errors(response):
    problem = response.json()
    fields = problem.get("errors") or [{"code": problem["code"], "pointer": ""}]
    return [(field["code"], field["pointer"]) for field in fields]


def may_be_refused(case, code, pointer):
    place = f"{case.operation.method.upper()} {case.operation.path} {pointer}".replace("/api/v1", "", 1)
    known = any(code == c and re.fullmatch(where, place) for c, where, _ in NOT_YET_DESCRIBED)
    return known or code in BEYOND_A_SCHEMA
