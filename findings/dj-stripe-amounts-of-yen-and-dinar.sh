#!/usr/bin/env bash
# dj-stripe 2.10.3 keeps every amount divided by 100, whatever its currency.
#
# Its decimal fields hold 10 for ¥1,000 and 10 for 1.000 KWD: Stripe's zero-decimal and three-decimal currencies are
# treated as two-decimal ones, though its own documentation speaks of amounts "in decimal".
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv && venv/bin/pip install -q 'dj-stripe==2.10.3' 'stripe==16.1.0' 'django==5.2.19'
seen=$(venv/bin/python - <<'PY'
from django.conf import settings
settings.configure(
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "djstripe"],
    DJSTRIPE_FOREIGN_KEY_TO_FIELD="id", STRIPE_TEST_SECRET_KEY="sk_test_" + "0" * 24, STRIPE_LIVE_MODE=False,
)
import django
django.setup()
from djstripe.fields import StripeDecimalCurrencyAmountField

field = StripeDecimalCurrencyAmountField()
field.name = "amount"
for currency in ("usd", "jpy", "kwd"):
    print(currency, field.stripe_to_db({"amount": 1000, "currency": currency}))
PY
)
expected=$(cat <<'SEEN'
usd 10
jpy 10
kwd 10
SEEN
)
printf '%s\n' "$seen"
[ "$seen" = "$expected" ] || { echo "This has changed since it was found." >&2; exit 1; }
