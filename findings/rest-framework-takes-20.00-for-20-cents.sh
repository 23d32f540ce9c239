#!/usr/bin/env bash
# Django REST framework 3.18.3: an IntegerField takes "20.00" for 20, and "1_000" for 1000.
#
# It cuts a fraction of zeros off, and leaves the rest to Python's `int`, which allows underscores. For an amount in
# minor units, which is what payment APIs take, a client that sends dollars as text pays 20 cents, and no error says
# so until the first price that isn't round.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv && venv/bin/pip install -q 'djangorestframework==3.18.3' 'django==5.2.19'
seen=$(venv/bin/python - <<'PY'
import django
from django.conf import settings

settings.configure()
django.setup()

from rest_framework.exceptions import ValidationError
from rest_framework.fields import IntegerField

for sent in ("2000", "20.00", "20.50", "1_000", "1,000"):
    try:
        taken = IntegerField(min_value=1).run_validation(sent)
    except ValidationError:
        taken = "refused"
    print(sent, taken)
PY
)
expected=$(cat <<'SEEN'
2000 2000
20.00 20
20.50 refused
1_000 1000
1,000 refused
SEEN
)
printf '%s\n' "$seen"
[ "$seen" = "$expected" ] || { echo "This has changed since it was found." >&2; exit 1; }
