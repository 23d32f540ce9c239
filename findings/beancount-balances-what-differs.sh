#!/usr/bin/env bash
# beancount 3.2.3 takes an entry for balanced whose sides differ by less than half of its coarsest digit.
#
# The tolerance comes from how amounts are written, not from the currency: 10.01 dinars pass against 10.006, and where a
# trailing zero is left off, 10.1 against 10.055. An export of books has to write all decimals of the currency in every
# amount, or differences go through unseen. Amounts without any decimals have no tolerance.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv && venv/bin/pip install -q 'beancount==3.2.3'
seen=$(venv/bin/python - <<'PY'
from beancount import loader

BOOKS = """
2026-01-01 open Assets:Stripe
2026-01-01 open Income:Sales
2026-01-02 * "A sale"
  Assets:Stripe  {}
  Income:Sales  -{}
"""
for sides in (("10.010 KWD", "10.006 KWD"), ("10.01 KWD", "10.006 KWD"), ("10.1 KWD", "10.055 KWD"), ("1000 JPY", "1001 JPY")):
    _entries, errors, _options = loader.load_string(BOOKS.format(*sides))
    print(*sides, [each.message for each in errors])
PY
)
expected=$(cat <<'SEEN'
10.010 KWD 10.006 KWD ['Transaction does not balance: (0.004 KWD)']
10.01 KWD 10.006 KWD []
10.1 KWD 10.055 KWD []
1000 JPY 1001 JPY ['Transaction does not balance: (-1 JPY)']
SEEN
)
printf '%s\n' "$seen"
[ "$seen" = "$expected" ] || { echo "This has changed since it was found." >&2; exit 1; }
