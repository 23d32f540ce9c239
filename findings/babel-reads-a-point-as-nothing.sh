#!/usr/bin/env bash
# Babel 2.19.0 reads "1.50" as 150 where the point groups digits, as in German, and says nothing.
#
# `parse_decimal` drops each group separator wherever it stands; only `strict=True`, which isn't the default, refuses
# one that doesn't stand before three digits. A shop that reads an amount as typed in the reader's own language takes
# a hundred times as much from whoever types the other sign.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv && venv/bin/pip install -q 'babel==2.19.0'
seen=$(venv/bin/python - <<'PY'
from babel.numbers import NumberFormatError, parse_decimal

for text, locale in (("1,50", "de"), ("1.50", "de"), ("1,50", "en_US"), ("1.5", "pt_BR")):
    try:
        strictly = parse_decimal(text, locale=locale, strict=True)
    except NumberFormatError:
        strictly = "refused"
    print(text, locale, parse_decimal(text, locale=locale), strictly)
PY
)
expected=$(cat <<'SEEN'
1,50 de 1.50 1.50
1.50 de 150 refused
1,50 en_US 150 refused
1.5 pt_BR 15 refused
SEEN
)
printf '%s\n' "$seen"
[ "$seen" = "$expected" ] || { echo "This has changed since it was found." >&2; exit 1; }
