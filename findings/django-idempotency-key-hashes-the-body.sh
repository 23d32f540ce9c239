#!/usr/bin/env bash
# django-idempotency-key 1.3.0 charges twice for one Idempotency-Key, if the second body isn't the first byte for byte.
#
# It keeps a request by the hash of key, path and body. At Stripe the same key with other parameters is an error; here
# it is a new request, and so is a true repeat that was written anew: with a space more in its JSON, or as multipart,
# of which a browser makes the boundary up each time.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv && venv/bin/pip install -q 'django-idempotency-key==1.3.0' 'djangorestframework==3.18.3' 'django==5.2.19'
seen=$(venv/bin/python - <<'PY'
import django
from django.conf import settings

settings.configure(
    ROOT_URLCONF=__name__, ALLOWED_HOSTS=["testserver"], MIDDLEWARE=["idempotency_key.middleware.IdempotencyKeyMiddleware"]
)
django.setup()

from django.http import JsonResponse
from django.test import Client
from django.urls import path
from idempotency_key.decorators import idempotency_key

charged = []


@idempotency_key
def charge(request):
    charged.append(request.body.decode())
    return JsonResponse({}, status=201)


urlpatterns = [path("charges", charge)]
client = Client()
for body in ('{"amount": 1000}', '{"amount": 1000}', '{"amount":1000}', '{"amount": 2000}'):
    answer = client.post("/charges", body, "application/json", headers={"Idempotency-Key": "booking-7"})
    print(body, answer.status_code, len(charged))
PY
)
expected=$(cat <<'SEEN'
{"amount": 1000} 201 1
{"amount": 1000} 409 1
{"amount":1000} 201 2
{"amount": 2000} 201 3
SEEN
)
printf '%s\n' "$seen"
[ "$seen" = "$expected" ] || { echo "This has changed since it was found." >&2; exit 1; }
