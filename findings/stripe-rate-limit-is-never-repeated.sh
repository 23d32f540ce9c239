#!/usr/bin/env bash
# stripe 16.1.0 repeats no 429, and doesn't look at `Retry-After`, with `max_network_retries` set as well.
#
# An SDK with retries and exponential pauses is expected to wait out a rate limit, since that is what a pause is
# for. It repeats 409 and from 500 on; a 429 only with Stripe's own header `Stripe-Should-Retry: true`.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv && venv/bin/pip install -q 'stripe==16.1.0' requests
seen=$(venv/bin/python - <<'PY'
import http.server, threading, stripe

calls = []

class Limited(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        calls.append(self.path)
        body = b'{"error": {"type": "invalid_request_error", "code": "rate_limit", "message": "slow down"}}'
        self.send_response(429 if "pi_" in self.path else 409)
        self.send_header("Retry-After", "1")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Limited)
threading.Thread(target=server.serve_forever, daemon=True).start()
stripe.enable_telemetry = False
base = f"http://127.0.0.1:{server.server_port}"
client = stripe.StripeClient("sk_test_1", base_addresses={"api": base}, max_network_retries=2)
for name, call in (("429", lambda: client.v1.payment_intents.retrieve("pi_1")), ("409", lambda: client.v1.refunds.retrieve("re_1"))):
    calls.clear()
    try:
        call()
    except stripe.StripeError:
        print(name, len(calls))
PY
)
expected=$(cat <<'SEEN'
429 1
409 3
SEEN
)
printf '%s\n' "$seen"
[ "$seen" = "$expected" ] || { echo "This has changed since it was found." >&2; exit 1; }
