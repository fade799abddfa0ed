"""What schemathesis needs to know of the admin API: who asks, how requests are signed, and what is there.

Accounts come from the environment, each as `GOTGAN_NAME_ACCESS_KEY_ID` and `GOTGAN_NAME_SECRET_ACCESS_KEY`: PLATFORM is a
platform administrator, CHIEF the administrator of a tenant, KEEPER, OFFICER and AUDITOR the key administrator, compliance
officer and auditor of another; MACHINE is a machine of the platform. GOTGAN_REGION is the server's, GOTGAN_ADMIN its address. GOTGAN_NEWCOMERS are principals of the
chief's tenant who are invited again and again. GOTGAN_EXAMPLES is a JSON file with requests that succeed:
{operationId: [{"path": {}, "query": {}, "body": {}, "as": account}]}. GOTGAN_SPARED names ids and access keys that are not to be
disabled or revoked, separated by commas: those in use. Other ones are disabled and revoked. GOTGAN_SEEN is written at the end:
{operationId: {status: requests}}.
"""

import atexit
import json
import os
import re
from collections import Counter, defaultdict
from itertools import cycle

import requests
import schemathesis
from schemathesis.auths import GLOBAL_AUTH_STORAGE

from signature import Signature

EXAMPLES = json.load(open(os.environ["GOTGAN_EXAMPLES"]))
SPARED = set(os.environ["GOTGAN_SPARED"].split(","))
SEEN = defaultdict(Counter)


def account(name):
    name = f"GOTGAN_{name.upper()}"
    return Signature(os.environ[f"{name}_ACCESS_KEY_ID"], os.environ[f"{name}_SECRET_ACCESS_KEY"], os.environ["GOTGAN_REGION"])


ROLES = {"platform-administrator": "platform", "tenant-administrator": "chief", "key-administrator": "keeper",
         "compliance-officer": "officer", "auditor": "auditor", "machine": "machine"}
ACCOUNTS = {name: account(name) for name in ROLES.values()}
# Who made what: to others it may not be there.
MAKERS = {}


class InTurn(requests.auth.AuthBase):
    """Signs as each account that the document has an operation for, one after the other; or as who made what it is about."""

    def __init__(self, operation):
        self.accounts = [ACCOUNTS[ROLES[role]] for role in operation["x-roles"]]
        self.turns = cycle(self.accounts)

    def __call__(self, request):
        body = request.body or ""
        said = request.path_url + (body if isinstance(body, str) else body.decode(errors="replace"))
        makers = (MAKERS.get(each) for each in re.findall(r"\w+", said))
        signer = next((maker for maker in makers if maker in self.accounts), None)
        return (signer or next(self.turns))(request)


class Maker(InTurn):
    """The same, where who asks decides what may be left out: only a tenant's administrator need not name the tenant."""

    def __call__(self, request):
        try:
            body = json.loads(request.body)
            role, tenant = body.get("role"), body.get("tenant")
        except (TypeError, ValueError, AttributeError):
            return super().__call__(request)
        if role == "platform-administrator":
            return ACCOUNTS["platform"](request)
        return ACCOUNTS["chief"](request) if tenant is None else super().__call__(request)


class Invited(requests.auth.AuthBase):
    """Signs by an invitation, each time another one."""

    newcomers = cycle(os.environ["GOTGAN_NEWCOMERS"].split(","))

    def __init__(self, _):
        pass

    def __call__(self, request):
        body, url = {"principal": next(self.newcomers)}, f"{os.environ['GOTGAN_ADMIN']}/v1/credentials"
        made = requests.post(url, auth=ACCOUNTS["chief"], json=body, timeout=20).json()
        return Signature(made["access_key_id"], made["secret_access_key"], os.environ["GOTGAN_REGION"])(request)


@schemathesis.auth(refresh_interval=None).apply_to(lambda context: "x-roles" in context.operation.definition.raw)
class Accounts:
    """Who signs. Operations without roles are not signed."""

    signers = {}

    def get(self, case, context):
        name = name_of(context.operation)
        if name not in self.signers:
            kind = {"PrincipalCreate": Maker, "Enrol": Invited}.get(name, InTurn)
            self.signers[name] = kind(context.operation.definition.raw)
        return self.signers[name]

    def set(self, case, signer, context):
        case._auth = signer


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
        roles = context.operation.definition.raw.get("x-roles")
        if roles and name_of(context.operation) != "Enrol":
            case._auth = ACCOUNTS[example.get("as", ROLES[roles[0]])]
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
    if name_of(case.operation) in ("PrincipalDisable", "CredentialRevoke", "MachineRevoke"):
        for name, value in case.path_parameters.items():
            if value in SPARED:
                case.path_parameters[name] = "0" * 32


@schemathesis.hook
def after_call(context, case, response):
    """Counts what was asked by its own method; probes of other methods are no requests of the operation."""
    if response.request.method == case.operation.method.upper():
        SEEN[name_of(case.operation)][response.status_code] += 1
    if response.status_code == 200 and "x-roles" in case.operation.definition.raw:
        made, signed = response.json(), response.request.headers.get("Authorization", "")
        MAKERS.update({made[name]: each for name in ("id", "access_key_id") if name in made
                       for each in ACCOUNTS.values() if each.access_key in signed})


@atexit.register
def tell():
    with open(os.environ["GOTGAN_SEEN"], "w") as out:
        json.dump(SEEN, out)
