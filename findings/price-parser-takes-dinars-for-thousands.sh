#!/usr/bin/env bash
# price-parser 0.5.1 reads "KWD 1.500", a dinar and a half, as one thousand five hundred.
#
# It knows the currency, since it returns it, and doesn't ask how many decimals that has: three digits after the only
# separator are thousands. So every price in a currency of three decimals is read a thousandfold, unless each call
# names the decimal separator.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv && venv/bin/pip install -q 'price-parser==0.5.1'
seen=$(venv/bin/python - <<'PY'
from price_parser import Price

for text in ("USD 1.50", "KWD 1.500", "2.500 OMR", "TND 3,750"):
    price, told = Price.fromstring(text), Price.fromstring(text, decimal_separator="," if "," in text else ".")
    print(text, "=", price.amount, price.currency, "or", told.amount)
PY
)
expected=$(cat <<'SEEN'
USD 1.50 = 1.50 USD or 1.50
KWD 1.500 = 1500 KWD or 1.500
2.500 OMR = 2500 OMR or 2.500
TND 3,750 = 3750 TND or 3.750
SEEN
)
printf '%s\n' "$seen"
[ "$seen" = "$expected" ] || { echo "This has changed since it was found." >&2; exit 1; }
