#!/usr/bin/env bash
# djangorestframework-camel-case 1.4.2: no setting makes both `v2_id` and `line_1` survive the way out and back.
#
# With its default, `v2Id` comes back as `v_2_id`; with `no_underscore_before_number`, `line1` comes back as `line1`
# and a serializer's `line_1` is missing. A name with a digit before letters and one with a digit at the end can't
# be in the same API.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv && venv/bin/pip install -q 'djangorestframework-camel-case==1.4.2' 'djangorestframework==3.18.3' 'django==5.2.19'
seen=$(venv/bin/python - <<'PY'
from django.conf import settings
settings.configure()
from djangorestframework_camel_case.util import camelize, underscoreize

for name in ("booking_ref", "v2_id", "line_1"):
    (sent,) = camelize({name: 1})
    back = [next(iter(underscoreize({sent: 1}, no_underscore_before_number=each))) for each in (False, True)]
    print(name, sent, *back)
PY
)
expected=$(cat <<'SEEN'
booking_ref bookingRef booking_ref booking_ref
v2_id v2Id v_2_id v2_id
line_1 line1 line_1 line1
SEEN
)
printf '%s\n' "$seen"
[ "$seen" = "$expected" ] || { echo "This has changed since it was found." >&2; exit 1; }
