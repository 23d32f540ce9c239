#!/usr/bin/env bash
# stripe 16.1.0: a StripeClient repeats no call by default, while the module's calls are repeated twice.
#
# `stripe.max_network_retries` is 2 since version 13, which reads as the default of all calls. For a StripeClient it
# is 0 unless the argument is given. A server that answers 503 counts the calls.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv && venv/bin/pip install -q 'stripe==16.1.0' requests
seen=$(venv/bin/python - <<'PY'
import http.server, threading, stripe

calls = []

class Busy(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        calls.append(self.path)
        body = b'{"error": {"type": "api_error", "message": "busy"}}'
        self.send_response(503)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Busy)
threading.Thread(target=server.serve_forever, daemon=True).start()
base = f"http://127.0.0.1:{server.server_port}"
stripe.enable_telemetry = False

def count(call):
    calls.clear()
    try:
        call()
    except stripe.APIError:
        return len(calls)

client = stripe.StripeClient("sk_test_1", base_addresses={"api": base})
stripe.api_key, stripe.api_base = "sk_test_1", base
print("StripeClient:", count(lambda: client.v1.payment_intents.retrieve("pi_1")))
print("module:", count(lambda: stripe.PaymentIntent.retrieve("pi_1")))
PY
)
expected=$(cat <<'SEEN'
StripeClient: 1
module: 3
SEEN
)
printf '%s\n' "$seen"
[ "$seen" = "$expected" ] || { echo "This has changed since it was found." >&2; exit 1; }
