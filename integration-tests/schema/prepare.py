"""Makes accounts, buckets, keys and destructions on a new server, and requests that succeed on them.

    prepare.py BINARY DATA OUT      writes OUT/env and OUT/examples.json for hooks.py
"""

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


def account(name, role):
    person = gotgan("principal", "create", name, "--tenant", "demo", "--role", role)
    return gotgan("credential", "create", "--principal", person["id"])


def put(path, body=""):
    """Makes a bucket or an object, as the engineer of the first start."""
    signed = ["--aws-sigv4", f"aws:amz:{first['region']}:s3", "-H", "x-amz-content-sha256: UNSIGNED-PAYLOAD"]
    user = f"user = {first['access_key_id']}:{first['secret_access_key']}"
    url = f"{first['s3_endpoint']}/{path}"
    command = ["curl", "-sf", "-K", "-", *signed, "-X", "PUT", "--data-binary", body, url]
    subprocess.run(command, check=True, input=user, text=True)


def signature(key_file, document):
    """Signs a request for destruction. The seed of the key stands at a fixed place of the file's PKCS#8."""
    seed = json.load(open(key_file))["private_key"][32:96]
    with open(f"{out}/key.der", "wb") as file:
        file.write(bytes.fromhex("302e020100300506032b657004220420" + seed))
    with open(f"{out}/signed", "wb") as file:
        file.write(b"gotgan-approval/1\0" + hashlib.sha256(document.encode()).digest())
    command = ["openssl", "pkeyutl", "-sign", "-rawin", "-keyform", "DER", "-inkey", f"{out}/key.der", "-in", f"{out}/signed"]
    return subprocess.run(command, check=True, capture_output=True).stdout.hex()


keeper, second = account("keeper", "key-administrator"), account("second", "key-administrator")
worker, leaver = account("worker", "engineer"), account("leaver", "engineer")
for bucket in ("grain", "millet"):
    put(bucket)
    for number in range(5):
        put(f"{bucket}/object-{number}", f"{number} sacks")

for name in ("spare", "awake", "asleep", "gone", "doomed", "kept"):
    gotgan("key", "create", name, account=keeper)
gotgan("key", "suspend", "asleep", "--reason", "an order of the court", "--confirm", "asleep", account=keeper)
approval = {}
for name, who in (("keeper", keeper), ("second", second)):
    approval[name] = f"{out}/{name}.approval"
    enrolled = gotgan("key", "approver", approval[name], account=who)
    if name == "keeper":
        public_key = enrolled["public_key"]


def asked(key, by, *days):
    return gotgan("key", "destroy", key, "--legal-basis", "개인정보 보호법 제21조", "--reason", "the contract ended", *days,
                  "--sign-with", approval[by], "--confirm", key, account={"keeper": keeper, "second": second}[by])["id"]


# One that is done, with its certificate; one that waits for the keeper's signature; one that is called off.
done = asked("gone", "keeper", "--due-now")
gotgan("key", "approve", done, "--sign-with", approval["second"], "--confirm", done, account=second)
waiting, called_off = asked("doomed", "second", "--due-now"), asked("kept", "keeper", "--days", "7")
for _ in range(100):
    if {each["id"]: each["state"] for each in gotgan("key", "destructions", account=keeper)}[done] == "done":
        break
    time.sleep(0.1)
else:
    sys.exit("the destruction is not done")

signed = Signature(keeper["access_key_id"], keeper["secret_access_key"], first["region"])
shown = requests.get(f"{first['admin_endpoint']}/v1/destructions/{waiting}", auth=signed, timeout=20).json()
basis = {"legal_basis": "개인정보 보호법 제21조", "reason": "the contract ended", "waiting_days": 7}
examples = {
    "TenantList": [{}],
    "TenantCreate": [{"body": {"name": "hospital-1"}}],
    "PrincipalList": [{}, {"query": {"tenant": "demo"}}],
    "PrincipalCreate": [
        {"body": {"name": "reader", "tenant": "demo", "role": "compliance-officer"}},
        {"body": {"name": "another", "role": "platform-administrator"}},
    ],
    "PrincipalDisable": [{"path": {"id": leaver["principal"]}}],
    "CredentialList": [{}, {"query": {"principal": worker["principal"]}}],
    "CredentialCreate": [{"body": {"principal": second["principal"]}}],
    "CredentialRevoke": [{"path": {"access_key_id": worker["access_key_id"]}}],
    "BucketResidency": [{"path": {"bucket": "millet"}, "body": {"subdivisions": ["KR-41", "KR-11"], "sites": []}}],
    "AuditList": [{}, {"query": {"all": "1"}}, {"query": {"tenant": "demo", "operation": "PutObject", "from": "2026"}}],
    "KeyList": [{}],
    "KeyCreate": [{"body": {"name": "new", "algorithm": "ARIA-256-GCM"}}],
    "KeyShow": [{"path": {"key": name}} for name in ("default", "asleep", "gone")],
    "KeyRotate": [{"path": {"key": "default"}}],
    "KeySchedule": [{"path": {"key": "default"}, "body": {"days": 90}}],
    "KeySuspend": [{"path": {"key": "awake"}, "body": {"reason": "감독기관의 명령"}}],
    "KeyResume": [{"path": {"key": "asleep"}}],
    "KeyDefault": [{"path": {"key": "spare"}}],
    "KeyLedger": [{}, {"query": {"after": "1.1"}}],
    "KeyRotateBucket": [{"path": {"bucket": "grain"}, "body": {"per_second": 1000}}],
    "KeyRotationList": [{}, {"query": {"bucket": "grain"}}],
    "KeyApproverEnrol": [{"body": {"public_key": public_key}}],
    "KeyDestroy": [{"body": {"key": "spare", **basis}}],
    "KeyDestroySign": [{"path": {"id": waiting}, "body": {"signature": signature(approval["keeper"], shown["document"])}}],
    "KeyDestroyCancel": [{"path": {"id": called_off}}],
    "KeyDestructionList": [{}],
    "KeyDestructionShow": [{"path": {"id": done}}, {"path": {"id": waiting}}],
    "RootReplace": [{}],
}
examples |= {name: [{}] for name in ("Health", "Ready", "Metrics", "OpenApi")}
with open(f"{out}/examples.json", "w") as file:
    json.dump(examples, file)

principals = {each["access_key_id"]: each["principal"] for each in gotgan("credential", "list")}
in_use = [first["admin_access_key_id"], keeper["access_key_id"]]
settings = {
    "GOTGAN_ADMIN": first["admin_endpoint"],
    "GOTGAN_REGION": first["region"],
    "GOTGAN_PLATFORM_ACCESS_KEY_ID": first["admin_access_key_id"],
    "GOTGAN_PLATFORM_SECRET_ACCESS_KEY": first["admin_secret_access_key"],
    "GOTGAN_KEEPER_ACCESS_KEY_ID": keeper["access_key_id"],
    "GOTGAN_KEEPER_SECRET_ACCESS_KEY": keeper["secret_access_key"],
    "GOTGAN_EXAMPLES": f"{out}/examples.json",
    "GOTGAN_SPARED": ",".join([*in_use, *(principals[key] for key in in_use)]),
    "GOTGAN_SEEN": f"{out}/seen.json",
}
with open(f"{out}/env", "w") as file:
    file.writelines(f"{name}={value}\n" for name, value in settings.items())
