#!/usr/bin/env bash
# django-payments 4.1.0 asks Stripe for a hundredth of an amount in UGX, and for a tenth of one in KWD.
#
# Its Stripe provider counts UGX among the zero-decimal currencies; Stripe writes UGX with two decimals, though it
# has none (a special case of its currency page). Three-decimal currencies are multiplied by 100.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv && venv/bin/pip install -q 'django-payments==4.1.0' 'stripe==16.1.0' 'django==5.2.19'
seen=$(venv/bin/python - <<'PY'
from decimal import Decimal
from django.conf import settings
settings.configure(PAYMENT_HOST="example.com")
from payments.stripe.providers import StripeProviderV3

provider = StripeProviderV3.__new__(StripeProviderV3)
for currency, amount, right in (("jpy", "1000", 1000), ("ugx", "5000", 500000), ("kwd", "1.000", 1000)):
    print(currency, amount, "sent as", provider.convert_amount(currency, Decimal(amount)), "Stripe's form", right)
PY
)
expected=$(cat <<'SEEN'
jpy 1000 sent as 1000 Stripe's form 1000
ugx 5000 sent as 5000 Stripe's form 500000
kwd 1.000 sent as 100 Stripe's form 1000
SEEN
)
printf '%s\n' "$seen"
[ "$seen" = "$expected" ] || { echo "This has changed since it was found." >&2; exit 1; }
