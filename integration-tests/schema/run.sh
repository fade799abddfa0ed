#!/usr/bin/env bash
# Asks a server whatever openapi.json allows, and much that it does not, and fails where the server does not do as the
# document says.
#
#   run.sh BINARY [SCHEMATHESIS_OPTION...]
#
# PYTHON has schemathesis in it. The report is left in schemathesis-report, where it runs.
set -euo pipefail
binary=$(realpath "$1") here=$(cd "$(dirname "$0")" && pwd)
document=$here/../../docs/openapi.json
shift
python=${PYTHON:-python3}
work=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null; wait; rm -rf "$work"' EXIT

# Trials: nobody must have been there for a week to approve a destruction, so that one can be seen from end to end.
"$binary" serve --data "$work/data" --s3 127.0.0.1:0 --admin 127.0.0.1:0 --danger-trial-destruction \
    >"$work/out" 2>"$work/server.log" &
server=$!
for _ in $(seq 100); do
    grep -q ' ready ' "$work/server.log" && break
    kill -0 "$server" || { cat "$work/server.log"; exit 1; }
    sleep 0.1
done

"$python" "$here/prepare.py" "$binary" "$work/data" "$work"
set -a
. "$work/env"
set +a

curl -sf "$GOTGAN_ADMIN/v1/openapi.json" | cmp "$document" -

# Not checked: use_after_free and object_level_authorization, for nothing but a name is deleted by DELETE, and accounts take
# turns. Signatures are not generated: ignored_auth tries each operation without one and with a wrong one. One worker:
# with more, schemathesis fails now and then of itself.
status=0
SCHEMATHESIS_HOOKS=hooks PYTHONPATH=$here "$(dirname "$python")/schemathesis" run "$document" --url "$GOTGAN_ADMIN" \
    --checks all --exclude-checks use_after_free,object_level_authorization \
    --seed 1 --generation-with-security-parameters false --max-examples "${EXAMPLES:-150}" --workers 1 --generation-database none --request-timeout 20 \
    --continue-on-failure --report junit,ndjson --report-dir "$work/report" \
    "$@" || status=$?
rm -rf schemathesis-report
cp -r "$work/report" schemathesis-report
cp "$work/server.log" schemathesis-report/

# No operation may have been refused each time: that would say little of it.
"$python" - "$document" "$GOTGAN_SEEN" <<'END' || status=1
import json, sys
document, seen = (json.load(open(path)) for path in sys.argv[1:])
names = [operation["operationId"] for path in document["paths"].values() for operation in path.values()]
for name in names:
    print(f"{name:20}", " ".join(f"{status}:{count}" for status, count in sorted(seen.get(name, {}).items())))
# Three days after an approval by persons who have been there for a week.
takes_days = ["TenantReseatInvite"]
never = [name for name in names if name in seen and "200" not in seen[name] and name not in takes_days]
absent = [name for name in names if name not in seen]
print(sum(sum(each.values()) for each in seen.values()), "requests of", len(seen), "operations; not asked for:", absent or "none")
sys.exit(f"never answered with 200: {never}" if never else 0)
END
if grep -E 'ERROR|panicked' "$work/server.log"; then
    status=1
fi
exit "$status"
