#!/usr/bin/env bash
# stripe 16.1.0 with djangorestframework 3.18.3: an empty list of Stripe's renders as `{}`, a full one raises.
#
# Since SDK 15 Stripe's objects aren't dicts. REST framework's encoder tries `tolist`, `__getitem__` and iteration on
# what it doesn't know, so an endpoint that hands on an intent's refunds works in tests without refunds and breaks
# in production with the first one. Call `to_dict()`.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv && venv/bin/pip install -q 'stripe==16.1.0' 'djangorestframework==3.18.3' 'django==5.2.19'
seen=$(venv/bin/python - <<'PY'
from django.conf import settings
settings.configure()
import stripe
from rest_framework.renderers import JSONRenderer

def render(refunds):
    value = stripe.ListObject.construct_from({"object": "list", "data": refunds}, "key")
    try:
        return JSONRenderer().render({"refunds": value}).decode()
    except Exception as error:
        return f"raises {type(error).__name__}"

print("none:", render([]))
print("one:", render([{"object": "refund", "id": "re_1"}]))
PY
)
expected=$(cat <<'SEEN'
none: {"refunds":{}}
one: raises TypeError
SEEN
)
printf '%s\n' "$seen"
[ "$seen" = "$expected" ] || { echo "This has changed since it was found." >&2; exit 1; }
