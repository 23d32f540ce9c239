#!/usr/bin/env bash
# @octocloud/types 2.0.4: zPricing takes `eur`, `EURO` and a precision of -1.
#
# OCTO's pricing has an upper-case ISO 4217 code and the number of its decimals, and the amounts can't be read
# without them. The published schema checks that the amounts are whole and leaves the two others open, so a
# validator that passes doesn't mean that a price can be understood.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init -y >/dev/null && npm install --silent --no-audit --no-fund @octocloud/types@2.0.4 >/dev/null
seen=$(node --input-type=module - <<'JS'
import { zPricing } from "@octocloud/types";

const price = { original: 1000, retail: 1000, net: null, includedTaxes: [] };
for (const [currency, currencyPrecision] of [["EUR", 2], ["eur", 2], ["EURO", 2], ["JPY", 2], ["EUR", -1]])
  console.log(currency, currencyPrecision, zPricing.safeParse({ ...price, currency, currencyPrecision }).success);
console.log("10.5", zPricing.safeParse({ ...price, retail: 10.5, currency: "EUR", currencyPrecision: 2 }).success);
JS
)
expected=$(cat <<'SEEN'
EUR 2 true
eur 2 true
EURO 2 true
JPY 2 true
EUR -1 true
10.5 false
SEEN
)
printf '%s\n' "$seen"
[ "$seen" = "$expected" ] || { echo "This has changed since it was found." >&2; exit 1; }
