#!/usr/bin/env bash
# stripe 16.1.0 follows a redirect of a POST as a GET, and returns whatever the other address answers as Stripe's.
#
# Stripe's API never redirects, so a 302 comes from something in between: a proxy's login page, a captive portal. A
# client of a payment API is expected to fail. This one raises nothing if the page behind it is JSON: the refund that was
# never asked for looks made.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv && venv/bin/pip install -q 'stripe==16.1.0' requests
seen=$(venv/bin/python - <<'PY'
import http.server, threading, stripe

class Portal(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        print(self.command, self.path)
        self.send_response(302)
        self.send_header("Location", "/login")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self):
        print(self.command, self.path, "with the key" if "sk_test_1" in self.headers.get("Authorization", "") else "")
        body = b'{"welcome": "please log in"}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Portal)
threading.Thread(target=server.serve_forever, daemon=True).start()
stripe.enable_telemetry = False
base = f"http://127.0.0.1:{server.server_port}"
client = stripe.StripeClient("sk_test_1", base_addresses={"api": base})
refund = client.v1.refunds.create({"payment_intent": "pi_1"})
print(type(refund).__name__, refund.to_dict())
PY
)
expected=$(cat <<'SEEN'
POST /v1/refunds
GET /login with the key
StripeObject {'welcome': 'please log in'}
SEEN
)
printf '%s\n' "$seen"
[ "$seen" = "$expected" ] || { echo "This has changed since it was found." >&2; exit 1; }
