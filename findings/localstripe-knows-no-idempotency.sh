#!/usr/bin/env bash
# localstripe 1.15.10, a stand-in for Stripe in tests, makes a new payment for each repeat of an Idempotency-Key.
#
# Stripe answers a repeat with the first payment, and another amount under the same key with an error. Against this
# stand-in code that repeats rightly seems to charge twice, and code that reuses a key wrongly passes.
set -euo pipefail
folder=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv && venv/bin/pip install -q 'localstripe==1.15.10'
port=$(venv/bin/python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
venv/bin/localstripe --port "$port" >log 2>&1 &
ask() { # AMOUNT: the new payment's id
    curl -sS --retry 20 --retry-delay 1 --retry-connrefused -u sk_test_12345: -H 'Idempotency-Key: booking-7' \
        -d "amount=$1" -d currency=eur "http://127.0.0.1:$port/v1/payment_intents" 2>>log |
        venv/bin/python -c 'import json, sys; print(json.load(sys.stdin)["id"])'
}
first=$(ask 1000) again=$(ask 1000) other=$(ask 2000)
seen="a repeat: $([ "$first" = "$again" ] && echo the same || echo another) payment
another amount: $([[ "$other" == pi_* && "$other" != "$first" ]] && echo another payment || echo an error)"
expected="a repeat: another payment
another amount: another payment"
printf '%s\n' "$seen"
[ "$seen" = "$expected" ] || { echo "This has changed since it was found." >&2; exit 1; }
