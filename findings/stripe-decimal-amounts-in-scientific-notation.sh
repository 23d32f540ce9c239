#!/usr/bin/env bash
# stripe 16.1.0 sends a Decimal as Python writes it: a whole number of minor units may go out as `2E+3`.
#
# `Decimal("20").scaleb(2)` and `(price * 100).normalize()` are ordinary ways to get minor units, both equal 2000,
# and both are written with an exponent. Convert to int before the call.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv && venv/bin/pip install -q 'stripe==16.1.0'
seen=$(venv/bin/python - <<'PY'
from decimal import Decimal
from urllib.parse import urlencode
from stripe._encode import _api_encode

for amount in (Decimal("2000"), Decimal("20").scaleb(2), (Decimal("20.00") * 100).normalize(), 2000.0):
    print(amount == 2000, urlencode(list(_api_encode({"amount": amount}))))
PY
)
expected=$(cat <<'SEEN'
True amount=2000
True amount=2.0E%2B3
True amount=2E%2B3
True amount=2000.0
SEEN
)
printf '%s\n' "$seen"
[ "$seen" = "$expected" ] || { echo "This has changed since it was found." >&2; exit 1; }
