"""What schemathesis needs to know of the admin API: who asks, how requests are signed, and what is there.

Accounts come from the environment, each as `_ACCESS_KEY_ID` and `_SECRET_ACCESS_KEY`: GOTGAN_PLATFORM is a platform
administrator, GOTGAN_KEEPER a key administrator of a tenant. GOTGAN_REGION is the server's. GOTGAN_EXAMPLES is a JSON
file with requests that succeed: {operationId: [{"path": {}, "query": {}, "body": {}}]}. GOTGAN_SPARED names ids and access
keys that are not to be disabled or revoked, separated by commas: those in use. Other ones are disabled and revoked.
GOTGAN_SEEN is written at the end: {operationId: {status: requests}}.
"""

import atexit
import json
import os
from collections import Counter, defaultdict

import schemathesis
from schemathesis.auths import GLOBAL_AUTH_STORAGE

from signature import Signature

EXAMPLES = json.load(open(os.environ["GOTGAN_EXAMPLES"]))
SPARED = set(os.environ["GOTGAN_SPARED"].split(","))
SEEN = defaultdict(Counter)


def account(name):
    return Signature(os.environ[f"{name}_ACCESS_KEY_ID"], os.environ[f"{name}_SECRET_ACCESS_KEY"], os.environ["GOTGAN_REGION"])


def is_for(role):
    """Whether an operation is for a role, as the document says."""
    return lambda context: role in context.operation.definition.raw.get("x-roles", [])


# The first that applies signs; operations without roles are not signed.
schemathesis.auth.set_from_requests(account("GOTGAN_PLATFORM")).apply_to(is_for("platform-administrator"))
schemathesis.auth.set_from_requests(account("GOTGAN_KEEPER")).apply_to(is_for("key-administrator"))


def name_of(operation):
    return operation.definition.raw["operationId"]


@schemathesis.hook
def before_add_examples(context, examples):
    """Adds requests that succeed: random names and ids are of nothing that is there."""
    for example in EXAMPLES.get(name_of(context.operation), []):
        given = {"path_parameters": example.get("path", {}), "query": example.get("query", {})}
        if "body" in example:
            given |= {"body": example["body"], "media_type": "application/json"}
        case = context.operation.Case(**given)
        GLOBAL_AUTH_STORAGE.set(case, schemathesis.AuthContext(operation=context.operation, app=None))
        examples.append(case)


@schemathesis.hook
def map_body(context, body):
    """Writes whole numbers as such: to JSON Schema 7.0 is an integer, to the server it is none."""
    if not isinstance(body, dict):
        return body
    whole = {name: int(value) for name, value in body.items() if isinstance(value, float) and value.is_integer() and abs(value) < 2**53}
    return {**body, **whole}


@schemathesis.hook
def before_call(context, case, kwargs):
    """Keeps the accounts in use: they are among what lists give, and so among what is tried next."""
    if name_of(case.operation) in ("PrincipalDisable", "CredentialRevoke"):
        for name, value in case.path_parameters.items():
            if value in SPARED:
                case.path_parameters[name] = "0" * 32


@schemathesis.hook
def after_call(context, case, response):
    """Counts what was asked by its own method; probes of other methods are no requests of the operation."""
    if response.request.method == case.operation.method.upper():
        SEEN[name_of(case.operation)][response.status_code] += 1


@atexit.register
def tell():
    with open(os.environ["GOTGAN_SEEN"], "w") as out:
        json.dump(SEEN, out)
