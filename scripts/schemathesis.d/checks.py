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
    "core.reserved": "the slugs that the installation keeps for itself",
    "identity.page_refused": "which addresses a page can have",
    "identity.password_composition": "a pattern for it would need lookahead, which not all dialects have",
    "identity.password_guessable": "how easy a password is to guess",
    "identity.password_length": "the length is counted after normalisation (NFKC)",
    "identity.password_personal": "what is known about its owner",
    "identity.unknown_permission": "the permissions of the modules that run",
    "identity.unknown_role": "the roles of this tenant",
    "identity.same_role": "which role the path names",
    "identity.wrong_password": "the password of the caller",
    "webhooks.empty_window": "which moments are past changes",
    "webhooks.event_too_large": "how large data is with its numbers written out",
    "webhooks.future": "which moments are to come changes",
    "webhooks.schema_mismatch": "what the customer's own schema says",
    "webhooks.schema_refused": "which schemas can be compiled, and at what cost",
    "webhooks.schema_too_costly": "how much work an event is for the customer's own schema",
    "webhooks.reserved_type": "the words that modules own",
    "webhooks.secret_refused": "a secret goes with hmac-sha256 alone",
    "webhooks.url_refused": "which addresses may be called",
}
# Texts of which a pattern says the shape, and a register which there are: zones, currencies; and
# expressions of a language.
SHAPES = {("core.rule", "/timeZone$"), ("core.rule", "/currency$"), ("core.rule", "^/filter$")}


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
    return code in BEYOND_A_SCHEMA or any(
        code == known and re.search(where, pointer) for known, where in SHAPES
    )
