#!/usr/bin/env bash
# Babel 2.19.0 shows HUF, COP and IDR without decimals, and rounds; at Stripe all three have two.
#
# The digits are CLDR's, which gives what is usual in cash, not what a card is charged. A receipt formatted with them
# says another amount than the bank's statement, and dividing by 10 to the power of Babel's precision charges a
# hundred times too much.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv && venv/bin/pip install -q 'babel==2.19.0'
seen=$(venv/bin/python - <<'PY'
from decimal import Decimal
from babel.numbers import format_currency, get_currency_precision

for code in ("HUF", "COP", "IDR", "USD"):
    print(code, get_currency_precision(code), format_currency(Decimal("1234.56"), code, locale="en_US"))
PY
)
expected=$(cat <<'SEEN'
HUF 0 HUF1,235
COP 0 COP1,235
IDR 0 IDR1,235
USD 2 $1,234.56
SEEN
)
printf '%s\n' "$seen"
[ "$seen" = "$expected" ] || { echo "This has changed since it was found." >&2; exit 1; }
