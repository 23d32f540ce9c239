#!/usr/bin/env bash
# stripe 16.1.0 leaves a parameter out whose value is None, so an update with None changes nothing and succeeds.
#
# A good engineer would expect JSON's null or an error. Only the empty string clears a value, in metadata too: a
# key that is set to None stays at Stripe.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv && venv/bin/pip install -q 'stripe==16.1.0'
seen=$(venv/bin/python - <<'PY'
from stripe._encode import _api_encode

print(list(_api_encode({"description": None, "metadata": {"hotel": None, "room": "7"}})))
print(list(_api_encode({"description": "", "metadata": {"hotel": "", "room": "7"}})))
PY
)
expected=$(cat <<'SEEN'
[('metadata[room]', '7')]
[('description', ''), ('metadata[hotel]', ''), ('metadata[room]', '7')]
SEEN
)
printf '%s\n' "$seen"
[ "$seen" = "$expected" ] || { echo "This has changed since it was found." >&2; exit 1; }
