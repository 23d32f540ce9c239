#!/usr/bin/env bash
# py-moneyed 3.0: `get_amount_in_sub_unit` differs from Stripe's minor units for ISK, UGX and MGA, and XCG is unknown.
#
# The method is the obvious way from a Money to Stripe's integer. ISK and UGX have no sub-unit in ISO 4217, but Stripe
# takes them with two decimals; the ariary has one, but Stripe takes it without. The Caribbean guilder, in use since
# 2025, isn't there.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv && venv/bin/pip install -q 'py-moneyed==3.0'
seen=$(venv/bin/python - <<'PY'
from moneyed import CurrencyDoesNotExist, Money, get_currency

for code, stripes in (("EUR", 100000), ("ISK", 100000), ("UGX", 100000), ("MGA", 1000)):
    print(code, Money(1000, code).get_amount_in_sub_unit(), "Stripe's:", stripes)
try:
    get_currency("XCG")
except CurrencyDoesNotExist:
    print("XCG is unknown")
PY
)
expected=$(cat <<'SEEN'
EUR 100000 Stripe's: 100000
ISK 1000 Stripe's: 100000
UGX 1000 Stripe's: 100000
MGA 100000 Stripe's: 1000
XCG is unknown
SEEN
)
printf '%s\n' "$seen"
[ "$seen" = "$expected" ] || { echo "This has changed since it was found." >&2; exit 1; }
