#!/usr/bin/env bash
# Rehearses going live with the project in this folder, against the emulator: from keys to the first event. It uses a
# database of its own, which it throws away, and changes nothing in the project, whose environment has to be active.
#     rehearse.sh [PORT [EMULATOR_PORT]]
set -euo pipefail
# What commands say and how they fail stay in order.
exec 2>&1
port=${1:-8001} emulator_port=${2:-8422}
site=http://127.0.0.1:$port emulator=http://127.0.0.1:$emulator_port
folder=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$folder"' EXIT

say() { printf '\n== %s\n' "$*"; }
manage() {
    echo "\$ python manage.py $*" >&2
    python manage.py "$@"
}
wait_for() { # URL: until the last job answers there
    for _ in $(seq 300); do
        kill -0 $! || break
        curl --silent --output "$folder/answer" "$1" && return
        sleep 0.2
    done
    cat "$folder"/*.log
    return 1
}

if [ ! -f manage.py ]; then
    echo "Run this in the folder of your manage.py."
    exit 1
elif ! python -c "import octo_stripe_gateway" 2>/dev/null; then
    echo "Activate your project's environment first: this python has no octo_stripe_gateway."
    exit 1
fi
for each in "$site" "$emulator"; do
    refused=0
    curl --silent --max-time 2 --output "$folder/answer" "$each" || refused=$?
    if [ "$refused" != 7 ]; then # what curl calls a port at which nobody listens
        echo "Port ${each##*:} is already in use. Choose others: rehearse.sh PORT EMULATOR_PORT"
        exit 1
    fi
done

say "Settings as in production: DEBUG off, keys from the environment"
project=${DJANGO_SETTINGS_MODULE:-$(tr \' \" <manage.py | sed -n 's/.*"DJANGO_SETTINGS_MODULE", "\(.*\)".*/\1/p')}
cat >"$folder/rehearsal.py" <<END
from $project import *

DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "$folder/db.sqlite3", "OPTIONS": {"timeout": 20}}}
CACHES = {"default": {"BACKEND": "django.core.cache.backends.db.DatabaseCache", "LOCATION": "cache"}}
OCTO_STRIPE_GATEWAY = OCTO_STRIPE_GATEWAY | {"STRIPE_API_BASE": "$emulator"}
END
cat "$folder/rehearsal.py"
export DJANGO_SETTINGS_MODULE=rehearsal DATABASE_URL=sqlite://:memory: PYTHONPATH=$folder:$PWD${PYTHONPATH:+:$PYTHONPATH}
export PYTHONUNBUFFERED=1
export STRIPE_API_KEY=sk_test_rehearsal STRIPE_PUBLISHABLE_KEY=pk_test_rehearsal
unset STRIPE_WEBHOOK_SECRET
python manage.py stripe_emulator --port "$emulator_port" --webhook-url '' --without-debug >"$folder/emulator.log" 2>&1 &
wait_for "$emulator/_emulator/events"
python manage.py migrate --verbosity 0
python manage.py createcachetable

say "Without a webhook secret, the doctor says what is missing"
manage stripe_doctor && exit 1

say "Have Stripe send its events"
webhooks=$site$(python manage.py shell --no-imports --command "
from octo_stripe_gateway.doctor.webhook_endpoints import find_webhook_paths
print(*find_webhook_paths()[:1] or exit('urls.py does not include octo_stripe_gateway.urls.'))" | tail -n 1)
manage stripe_setup --url "$webhooks" | tee "$folder/setup"
STRIPE_WEBHOOK_SECRET=$(grep -o 'whsec_[A-Za-z0-9]*' "$folder/setup")
export STRIPE_WEBHOOK_SECRET
python manage.py runserver --noreload "$port" >"$folder/site.log" 2>&1 &
wait_for "$site/"

say "What production lacks"
left=
if ! manage check --deploy 2>&1 | tee "$folder/check"; then
    left=", but mend these errors before you go live: $(grep -o '([a-z_]*[.]E[0-9]*)' "$folder/check" | xargs)"
fi
manage stripe_doctor --url "$webhooks"

say "The first payment: created, paid by the customer, confirmed by Stripe's event alone"
echo "services.create_payment(2000, currency='usd')"
python manage.py shell --no-imports --command "
from octo_stripe_gateway import services
print(services.create_payment(2000, currency='usd').payment.intent_id)" >"$folder/intent"
intent=$(tail -n 1 "$folder/intent")
echo "$intent is created: the customer pays"
echo "\$ curl -X POST $emulator/_emulator/payment_intents/$intent/confirm"
curl --silent --show-error --fail --output "$folder/answer" \
    -X POST "$emulator/_emulator/payment_intents/$intent/confirm"
echo "The emulator sends payment_intent.succeeded to $webhooks"
if ! python manage.py shell --no-imports --command "
import time
from octo_stripe_gateway.models import Payment
for _ in range(100):
    status = Payment.objects.get().status
    if status == 'paid':
        break
    time.sleep(0.1)
print(Payment.objects.get().uuid, 'is', status)
raise SystemExit(status != 'paid')"; then
    echo "The event did not arrive within 10 seconds, or was refused. The emulator says:"
    sed '1,/Ctrl-C/d' "$folder/emulator.log"
    echo "The site says:"
    tail -n 20 "$folder/site.log"
    exit 1
fi
manage stripe_doctor --url "$webhooks"

say "Rehearsed$left. With Stripe itself, the same commands take your own keys and --host."
