"""Conditional writes of the clients that table formats rest on: none of many concurrent commits is lost.

usage: tables.py BOOTSTRAP_JSON
"""
import json, os, sys
from concurrent.futures import ThreadPoolExecutor

import obstore
import pyarrow as pa
from deltalake import DeltaTable, write_deltalake
from obstore.exceptions import AlreadyExistsError, PreconditionError

os.environ.pop("AWS_CA_BUNDLE", None)
b = json.load(open(sys.argv[1]))
bucket = "tables"
options = {"endpoint": b["s3_endpoint"], "region": b["region"], "access_key_id": b["access_key_id"], "secret_access_key": b["secret_access_key"]}
store = obstore.store.S3Store(bucket, **options, client_options={"allow_http": True}, virtual_hosted_style_request=False)


def attempt(key, mode, data):
    try:
        obstore.put(store, key, data, mode=mode)
        return True
    except (AlreadyExistsError, PreconditionError):
        return False


# Of many that create, one wins; of many that swap the same version, one wins. Each body is another: equal
# ones have equal ETags, and who writes what is there already takes nothing from those who swap it.
for turn in range(10):
    key = f"lock-{turn}"
    for kind in ("create", "swap"):
        mode = kind if kind == "create" else {"e_tag": obstore.head(store, key)["e_tag"]}
        with ThreadPoolExecutor(8) as pool:
            won = list(pool.map(lambda n: attempt(key, mode, f"{kind} by {n}".encode()), range(8)))
        assert won.count(True) == 1, (kind, won)
        assert bytes(obstore.get(store, key).bytes()) == f"{kind} by {won.index(True)}".encode()

delta = {f"AWS_{name.upper()}": value for name, value in options.items() if name != "endpoint"}
delta |= {"AWS_ENDPOINT_URL": b["s3_endpoint"], "AWS_ALLOW_HTTP": "true", "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "false", "aws_conditional_put": "etag"}
table = f"s3://{bucket}/delta"
write_deltalake(table, pa.table({"n": [-1]}), storage_options=delta)
with ThreadPoolExecutor(4) as pool:
    list(pool.map(lambda n: write_deltalake(table, pa.table({"n": [n]}), mode="append", storage_options=delta), range(12)))
found = DeltaTable(table, storage_options=delta)
assert found.version() == 12, found.version()
assert sorted(found.to_pyarrow_table()["n"].to_pylist()) == list(range(-1, 12))
print("obstore and deltalake lost nothing", flush=True)
os._exit(0)  # threads of pyarrow's C++ half that still end abort an orderly exit, now and then
