"""Makes accounts, buckets, keys, destructions, accesses and re-seatings on a new server, and requests that succeed on them.

    prepare.py BINARY DATA OUT      writes OUT/env and OUT/examples.json for hooks.py
"""

import base64
import hashlib
import json
import os
import subprocess
import sys
import time

import requests

from signature import Signature

binary, data, out = sys.argv[1:]
first = json.load(open(f"{data}/bootstrap.json"))


def gotgan(*words, account=None):
    """Runs a command as an account, or as the platform's administrator."""
    env = dict(os.environ)
    if account:
        names = {"GOTGAN_ADMIN_ACCESS_KEY_ID": "access_key_id", "GOTGAN_ADMIN_SECRET_ACCESS_KEY": "secret_access_key"}
        env |= {name: account[field] for name, field in names.items()}
    done = subprocess.run([binary, *words, "--data", data, "--json"], env=env, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"gotgan {' '.join(words)}: {done.stderr}")
    return json.loads(done.stdout)


def account(name, role, *tenant):
    person = gotgan("principal", "create", name, "--role", role, *tenant)
    return gotgan("credential", "create", "--principal", person["id"])


def invited(by, name, role):
    """A principal of the tenant of whoever asks, and its invitation."""
    return gotgan("principal", "create", name, "--role", role, account=by)


def call(method, path, by, body=None):
    """What the API answers to an account."""
    auth = Signature(by["access_key_id"], by["secret_access_key"], first["region"])
    response = requests.request(method, f"{first['admin_endpoint']}/v1/{path}", auth=auth, json=body, timeout=20)
    if response.status_code != 200:
        sys.exit(f"{method} {path}: {response.text}")
    return response.json()


def put(path, body="", engineer=first):
    """Makes a bucket or an object, as an engineer: that of the first start, where no other is named."""
    signed = ["--aws-sigv4", f"aws:amz:{first['region']}:s3", "-H", "x-amz-content-sha256: UNSIGNED-PAYLOAD"]
    user = f"user = {engineer['access_key_id']}:{engineer['secret_access_key']}"
    url = f"{first['s3_endpoint']}/{path}"
    command = ["curl", "-sf", "-K", "-", *signed, "-X", "PUT", "--data-binary", body, url]
    subprocess.run(command, check=True, input=user, text=True)


def signature(key_file, document):
    """Signs a request for a destruction or an access. The seed of the key stands at a fixed place of the file's PKCS#8."""
    seed = json.load(open(key_file))["private_key"][32:96]
    with open(f"{out}/key.der", "wb") as file:
        file.write(bytes.fromhex("302e020100300506032b657004220420" + seed))
    with open(f"{out}/signed", "wb") as file:
        file.write(b"gotgan-approval/1\0" + hashlib.sha256(document.encode()).digest())
    command = ["openssl", "pkeyutl", "-sign", "-rawin", "-keyform", "DER", "-inkey", f"{out}/key.der", "-in", f"{out}/signed"]
    return subprocess.run(command, check=True, capture_output=True).stdout.hex()


def wrapped(public_key):
    """A key of 32 bytes, wrapped to a transport key."""
    with open(f"{out}/transport.pem", "w") as file:
        file.write(public_key)
    oaep = [option for each in ("padding_mode:oaep", "oaep_md:sha256", "mgf1_md:sha256") for option in ("-pkeyopt", f"rsa_{each}")]
    command = ["openssl", "pkeyutl", "-encrypt", "-pubin", "-inkey", f"{out}/transport.pem", *oaep]
    return base64.b64encode(subprocess.run(command, check=True, capture_output=True, input=os.urandom(32)).stdout).decode()


DEMO = "--tenant", "demo"
# The administrator of the first start signs no approvals, for its secret lies in a file.
platform, other = account("platform", "platform-administrator"), account("other", "platform-administrator")
keeper, second = account("keeper", "key-administrator", *DEMO), account("second", "key-administrator", *DEMO)
officer, auditor = account("officer", "compliance-officer", *DEMO), account("auditor", "auditor", *DEMO)
worker, leaver = account("worker", "engineer", *DEMO), account("leaver", "engineer", *DEMO)

# A tenant with an administrator of its own, and principals in it that are invited again and again.
gotgan("tenant", "create", "clinic")
chief = gotgan("enrol", account=gotgan("tenant", "invite", "clinic", "--name", "chief")["invitation"])
nurse = gotgan("enrol", account=invited(chief, "nurse", "engineer")["invitation"])
newcomers = [invited(chief, "newcomer", "engineer")["id"], invited(chief, "deputy", "tenant-administrator")["id"]]
put("rye", engineer=nurse)
gotgan("tenant", "create", "school")
# Tenants that have lost their administrators.
for tenant in ("ward-1", "ward-2", "ward-3"):
    gotgan("tenant", "create", tenant)
    gotgan("enrol", account=gotgan("tenant", "invite", tenant)["invitation"])

for bucket in ("grain", "millet", "barley"):
    put(bucket)
    for number in range(5):
        put(f"{bucket}/object-{number}", f"{number} sacks")

for name in ("spare", "awake", "asleep", "gone", "doomed", "kept", "strict"):
    gotgan("key", "create", name, account=keeper)
gotgan("key", "alias", "spare", "reserve", account=keeper)
gotgan("key", "suspend", "asleep", "--reason", "an order of the court", "--confirm", "asleep", account=keeper)
approval, public_key = {}, {}
for name, who, of in (("keeper", keeper, "key"), ("second", second, "key"), ("platform", platform, "access"), ("other", other, "access")):
    approval[name] = f"{out}/{name}.approval"
    public_key[name] = gotgan(of, "approver", approval[name], account=who)["public_key"]


def asked(what, by, *days):
    return gotgan("key", "destroy", *what, "--legal-basis", "개인정보 보호법 제21조", "--reason", "the contract ended", *days,
                  "--sign-with", approval[by], "--confirm", what[-1], account={"keeper": keeper, "second": second}[by])["id"]


def finished(destruction):
    """Approves it, and waits until it is done."""
    gotgan("key", "approve", destruction, "--sign-with", approval["second"], "--confirm", destruction, account=second)
    for _ in range(100):
        if {each["id"]: each["state"] for each in gotgan("key", "destructions", account=keeper)}[destruction] == "done":
            return destruction
        time.sleep(0.1)
    sys.exit("the destruction is not done")


# Two that are done, with their certificates; one that waits for the keeper's signature; one that is called off.
done = [finished(asked(what, "keeper", "--due-now")) for what in (["gone"], ["--bucket", "barley"])]
waiting, called_off = asked(["doomed"], "second", "--due-now"), asked(["kept"], "keeper", "--days", "7")
basis = {"legal_basis": "개인정보 보호법 제21조", "reason": "the contract ended", "waiting_days": 7}


def let_in(tenant, bucket):
    return {"tenant": tenant, "bucket": bucket, "reason_code": "emergency", "legal_basis": "의료법 제21조", "reason": "a disk fails", "hours": 4}


# Nobody of the platform has been there for a week, so none is ever open.
accesses = [call("POST", "accesses", platform, let_in("demo", "grain"))["id"] for _ in range(4)]
of_clinic = call("POST", "accesses", platform, let_in("clinic", "rye"))["id"]


def reseat(tenant):
    return {"tenant": tenant, "name": "successor", "legal_basis": "의료법 제21조", "reason": "she is gone"}


reseatings = [call("POST", "reseatings", platform, reseat(tenant))["id"] for tenant in ("ward-2", "ward-3", "clinic")]


machines = [call("POST", "machines", platform, {"name": f"node-{n}", "roles": ["node"], "country": "KR", "site": "pangyo-1"}) for n in range(4)]
machine = call("POST", "enrol", machines[0]["invitation"])
key_and_request = ["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "/dev/null", "-subj", "/CN=node-0"]
certificate_request = subprocess.run(key_and_request, check=True, capture_output=True, text=True).stdout


def signed(name, kind, id, by):
    """The body of a request that signs it."""
    return {"signature": signature(approval[name], call("GET", f"{kind}/{id}", by)["document"])}


transport = call("POST", "import", keeper)
brought = {"transport": transport["transport"], "method": "RSA-OAEP-SHA256", "wrapped": wrapped(transport["public_key"])}
examples = {
    "TenantList": [{}],
    "TenantCreate": [{"body": {"name": "hospital-1"}}],
    "TenantInvite": [{"path": {"tenant": "school"}, "body": {"name": "principal"}}],
    "TenantReseat": [{"body": reseat("ward-1")}],
    "TenantReseatSign": [{"path": {"id": reseatings[0]}, "body": signed("platform", "reseatings", reseatings[0], platform)}],
    "TenantReseatCancel": [{"path": {"id": reseatings[1]}}, {"path": {"id": reseatings[2]}, "as": "chief"}],
    "TenantReseatList": [{}, {"as": "chief"}],
    "TenantReseatShow": [{"path": {"id": id}} for id in reseatings],
    "Enrol": [{}, {}],
    "PrincipalList": [{}, {"query": {"tenant": "demo"}}, {"as": "chief"}],
    "PrincipalCreate": [
        {"body": {"name": "reader", "tenant": "demo", "role": "compliance-officer"}},
        {"body": {"name": "another", "role": "platform-administrator"}},
        {"body": {"name": "watcher", "role": "auditor"}, "as": "chief"},
    ],
    "PrincipalDisable": [{"path": {"id": leaver["principal"]}}],
    "CredentialList": [{}, {"query": {"principal": worker["principal"]}}, {"as": "chief"}],
    "CredentialCreate": [{"body": {"principal": second["principal"]}}, {"body": {"principal": nurse["principal"]}, "as": "chief"}],
    "CredentialRevoke": [{"path": {"access_key_id": worker["access_key_id"]}}],
    "BucketResidency": [
        {"path": {"bucket": "millet"}, "body": {"subdivisions": ["KR-41", "KR-11"], "sites": []}},
        {"path": {"bucket": "rye"}, "body": {"subdivisions": ["KR-41"]}, "as": "chief"},
    ],
    "AuditList": [
        {},
        {"query": {"all": "1"}},
        {"query": {"tenant": "demo", "operation": "PutObject", "from": "2026"}},
        {"query": {"all": "1", "reason": "customer-request"}, "as": "officer"},
        {"query": {"access": accesses[0]}, "as": "auditor"},
    ],
    "KeyList": [{}, {"as": "auditor"}],
    "KeyCreate": [{"body": {"name": "new", "algorithm": "ARIA-256-GCM"}}, {"body": {"name": "brought", "import": brought}}],
    "KeyShow": [{"path": {"key": name}} for name in ("default", "asleep", "gone", "reserve")],
    "KeyRotate": [{"path": {"key": "default"}}],
    "KeySchedule": [{"path": {"key": "default"}, "body": {"days": 90}}],
    "KeySuspend": [{"path": {"key": "awake"}, "body": {"reason": "감독기관의 명령"}}],
    "KeyResume": [{"path": {"key": "asleep"}}],
    "KeyDefault": [{"path": {"key": "spare"}}],
    "KeyPolicy": [{"path": {"key": "strict"}, "body": {"refuses": refuses}} for refuses in (["emergency", "legal-request"], [])],
    "KeyAlias": [{"path": {"key": "default", "alias": "main"}}],
    "KeyUnalias": [{"path": {"key": "spare", "alias": "reserve"}}],
    "KeyAliasList": [{}, {"as": "officer"}],
    "KeyImportBegin": [{}, {"body": {"provider": "sealed-file"}}],
    "KeyLedger": [{}, {"query": {"after": "1.1"}}, {"query": {"uses": "1"}, "as": "officer"}],
    "KeyRotateBucket": [
        {"path": {"bucket": "grain"}, "body": {"per_second": 1000}},
        {"path": {"bucket": "millet"}, "body": {"key": "spare"}},
    ],
    "KeyRotationList": [{}, {"query": {"bucket": "grain"}}],
    "ApproverEnrol": [{"body": {"public_key": public_key[name]}, "as": name} for name in ("platform", "keeper")],
    "KeyDestroy": [{"body": {"key": "spare", **basis}}, {"body": {"bucket": "millet", **basis}}],
    "KeyDestroySign": [{"path": {"id": waiting}, "body": signed("keeper", "destructions", waiting, keeper)}],
    "KeyDestroyCancel": [{"path": {"id": called_off}}],
    "KeyDestructionList": [{}],
    "KeyDestructionShow": [{"path": {"id": id}} for id in (*done, waiting)],
    "MachineInvite": [{"body": {"name": "node-9", "roles": ["node", "gateway"], "country": "KR", "subdivision": "KR-41", "site": "판교 1", "rack": "r7"}}],
    "MachineList": [{}],
    "MachineShow": [{"path": {"id": each["id"]}} for each in machines],
    "MachineSign": [{"path": {"id": machines[1]["id"]}, "body": signed("platform", "machines", machines[1]["id"], platform)}],
    "MachineRevoke": [{"path": {"id": machines[2]["id"]}}],
    "CertificateIssue": [{"body": {"request": certificate_request}}],
    "AccessRequest": [{"body": let_in("demo", "millet")}],
    "AccessSign": [{"path": {"id": accesses[0]}, "body": signed("platform", "accesses", accesses[0], platform)}],
    "AccessEnd": [
        *({"path": {"id": id}, "as": name} for id, name in zip(accesses[1:], ("platform", "keeper", "officer"))),
        {"path": {"id": of_clinic}, "as": "chief"},
    ],
    "AccessList": [{}, {"query": {"tenant": "demo"}}, {"as": "chief"}, {"as": "auditor"}],
    "AccessShow": [{"path": {"id": accesses[0]}}, {"path": {"id": of_clinic}, "as": "chief"}],
    "RootReplace": [{}],
}
examples |= {name: [{}] for name in ("Health", "Ready", "Metrics", "OpenApi", "Ca", "Revocations")}
with open(f"{out}/examples.json", "w") as file:
    json.dump(examples, file)

accounts = {"platform": platform, "chief": chief, "keeper": keeper, "officer": officer, "auditor": auditor, "machine": machine}
settings = {
    "GOTGAN_ADMIN": first["admin_endpoint"],
    "GOTGAN_REGION": first["region"],
    "GOTGAN_EXAMPLES": f"{out}/examples.json",
    "GOTGAN_NEWCOMERS": ",".join(newcomers),
    "GOTGAN_SPARED": ",".join([*newcomers, *(each[field] for each in accounts.values() for field in ("access_key_id", "principal"))]),
    "GOTGAN_SEEN": f"{out}/seen.json",
}
for name, each in accounts.items():
    settings |= {f"GOTGAN_{name.upper()}_{field.upper()}": each[field] for field in ("access_key_id", "secret_access_key")}
with open(f"{out}/env", "w") as file:
    file.writelines(f"{name}={value}\n" for name, value in settings.items())
