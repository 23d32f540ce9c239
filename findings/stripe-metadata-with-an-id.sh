#!/usr/bin/env bash
# stripe 16.1.0 sends metadata that is a StripeObject as one value if it has a key `id`.
#
# Handing an object's metadata on to another (a refund, a copy of an intent) is ordinary, and so is a key named
# `id` in a host's metadata. As a dict all keys are sent. As it comes from Stripe's answer, the SDK takes it for a
# reference to an object and sends the value of `id` in place of the whole.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv && venv/bin/pip install -q 'stripe==16.1.0'
seen=$(venv/bin/python - <<'PY'
import stripe
from stripe._encode import _api_encode

intent = stripe.PaymentIntent.construct_from({"id": "pi_1", "metadata": {"id": "booking-7", "hotel": "Ritz"}}, "key")
print(list(_api_encode({"metadata": intent.metadata.to_dict()})))
print(list(_api_encode({"metadata": intent.metadata})))
PY
)
expected=$(cat <<'SEEN'
[('metadata[id]', 'booking-7'), ('metadata[hotel]', 'Ritz')]
[('metadata', 'booking-7')]
SEEN
)
printf '%s\n' "$seen"
[ "$seen" = "$expected" ] || { echo "This has changed since it was found." >&2; exit 1; }
