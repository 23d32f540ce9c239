"""Collects the emulator's answers and events in every state, each with its type in stripe-node."""

from __future__ import annotations

from typing import Any

import requests

from octo_stripe_gateway.testing.emulator import CARDS, StripeEmulator

Answer = tuple[str, Any]
SHIPPING: Any = {"name": "Ada", "address": {"line1": "1 Quay", "city": "Lyon", "country": "FR"}}
TYPES = {
    "account": "Stripe.Account",
    "balance_transaction": "Stripe.BalanceTransaction",
    "charge": "Stripe.Charge",
    "dispute": "Stripe.Dispute",
    "payment_intent": "Stripe.PaymentIntent",
    "payment_method": "Stripe.PaymentMethod",
    "radar.early_fraud_warning": "Stripe.Radar.EarlyFraudWarning",
    "refund": "Stripe.Refund",
    "webhook_endpoint": "Stripe.WebhookEndpoint",
}


class Recorder:
    """Acts as a program and its customers at the emulator, and keeps each answer with its type."""

    def __init__(self, stripe: StripeEmulator) -> None:
        self.stripe = stripe
        self.answers: list[Answer] = []

    def ask(self, method: str, path: str, /, *, as_type: str = "", **params: Any) -> Any:
        """Keep the answer, or the PaymentIntent in a refusal."""
        answer = requests.request(
            method,
            f"{self.stripe.url}/v1/{path}",
            params=_encode(params) if method == "GET" else None,
            data=None if method == "GET" else _encode(params),
            headers={"Authorization": "Bearer sk_test_x"},
            timeout=60,
        ).json()
        if "error" in answer:
            assert "payment_intent" in answer["error"], (path, params, answer)
            answer = answer["error"]["payment_intent"]
        self.answers.append((as_type or TYPES[answer["object"]], answer))
        return answer

    def create(self, **params: Any) -> Any:
        return self.ask("POST", "payment_intents", **{"amount": 2000, "currency": "usd", **params})

    def pay(self, payment_method: str = "pm_card_visa", **params: Any) -> Any:
        """Create and pay, and keep the intent and its charge expanded as well."""
        paid = {"confirm": "true", "return_url": "http://shop.test", "payment_method": payment_method}
        intent = self.create(**paid, **params)
        for name in ("latest_charge.balance_transaction", "latest_charge.refunds", "payment_method"):
            if intent[name.partition(".")[0]]:
                self.ask("GET", f"payment_intents/{intent['id']}", expand=[name])
        return intent

    def keep_events(self) -> None:
        self.answers += [("Stripe.Event", event.payload) for event in self.stripe.events]


def record_answers(stripe: StripeEmulator) -> list[Answer]:
    """Return the emulator's answers and events about payments in every state."""
    recorder = Recorder(stripe)
    for record in (
        record_intents,
        record_cards,
        record_holds,
        record_debits,
        record_refunds,
        record_disputes,
    ):
        record(recorder)
    for kind in TYPES.keys() - {"account", "payment_method"}:
        path = f"{kind.replace('.', '/')}s"
        recorder.ask("GET", path, as_type=f"Stripe.ApiList<{TYPES[kind]}>", limit=100)
    recorder.ask("GET", "events", as_type="Stripe.ApiList<Stripe.Event>", limit=100)
    recorder.keep_events()
    return recorder.answers


def record_intents(recorder: Recorder) -> None:
    """Create, update, decline, challenge and cancel."""
    stripe = recorder.stripe
    intent = recorder.create(description="Tour", receipt_email="ada@shop.test", metadata={"a": "b"})
    recorder.ask("POST", f"payment_intents/{intent['id']}", amount=3000, shipping=SHIPPING)
    recorder.ask("POST", f"payment_intents/{intent['id']}/cancel", cancellation_reason="duplicate")
    recorder.create(currency="eur", allowed_payment_method_types=["card"], setup_future_usage="off_session")
    recorder.create(automatic_payment_methods={"enabled": "true", "allow_redirects": "never"})
    recorder.create(automatic_payment_methods={"enabled": "false"}, excluded_payment_method_types=["card"])
    asked = recorder.pay("pm_card_authenticationRequired")
    stripe.authenticate(asked["id"], succeed=False)
    recorder.ask("GET", f"payment_intents/{asked['id']}", expand=["latest_charge"])
    used = recorder.create(payment_method="pm_card_authenticationRequired")
    stripe.confirm(used["id"], "pm_card_authenticationRequired")
    recorder.ask("GET", f"payment_intents/{used['id']}")
    stripe.authenticate(used["id"])
    recorder.ask("GET", f"payment_intents/{used['id']}", expand=["latest_charge"])
    recorder.pay(shipping=SHIPPING, statement_descriptor_suffix="Tour", capture_method="automatic")


def record_cards(recorder: Recorder) -> None:
    # Vouchers and debits of other currencies have their own parameters: see the emulator's tests.
    for card in (each for each in CARDS if each.kind in {"card", "us_bank_account"}):
        recorder.ask("POST", "payment_methods", **_typed_in(card))
        recorder.pay(card.payment_method)


def record_holds(recorder: Recorder) -> None:
    """Capture all, capture a part, cancel, let expire."""
    steps: Any = (("capture", {}), ("capture", {"amount_to_capture": 1500}), ("cancel", {}))
    for step, params in steps:
        held = recorder.pay(capture_method="manual")
        ended = recorder.ask("POST", f"payment_intents/{held['id']}/{step}", **params)
        recorder.ask("GET", f"charges/{ended['latest_charge']}")
    expired = recorder.pay(capture_method="manual")
    recorder.stripe.expire(expired["id"])
    recorder.ask("GET", f"payment_intents/{expired['id']}", expand=["latest_charge"])


def record_debits(recorder: Recorder) -> None:
    for succeed in (True, False):
        debit = recorder.pay("pm_usBankAccount")
        recorder.stripe.settle(debit["id"], succeed=succeed)
        recorder.ask("GET", f"payment_intents/{debit['id']}", expand=["latest_charge"])
        if succeed:
            recorder.ask("POST", "refunds", payment_intent=debit["id"])


def record_refunds(recorder: Recorder) -> None:
    """Refund wholly and partly; pend, fail, ask the customer, wait for balance."""
    stripe, expand = recorder.stripe, ["balance_transaction", "charge", "payment_intent"]
    intent = recorder.pay()["id"]
    recorder.ask("POST", "refunds", payment_intent=intent, amount=500, reason="duplicate", expand=expand)
    recorder.ask("POST", "refunds", payment_intent=intent, metadata={"a": "b"})
    for status in ("requires_action", "canceled", "failed", "succeeded"):
        pending = recorder.ask("POST", "refunds", payment_intent=recorder.pay("pm_card_pendingRefund")["id"])
        stripe.settle_refund(pending["id"], status=status)
        recorder.ask("GET", f"refunds/{pending['id']}")
    stripe.drain_balance(refunds="pending")
    waiting = recorder.ask("POST", "refunds", payment_intent=recorder.pay()["id"])
    stripe.top_up_balance()
    recorder.ask("GET", f"refunds/{waiting['id']}", expand=expand)


def record_disputes(recorder: Recorder) -> None:
    """Win, lose, answer and give up disputes and inquiries, and warn of fraud."""
    stripe = recorder.stripe
    for won in (True, False):
        dispute = stripe.open_dispute(recorder.pay()["id"], amount=700)
        stripe.close_dispute(dispute["id"], won=won)
        recorder.ask("GET", f"disputes/{dispute['id']}", expand=["charge", "payment_intent"])
    for inquiry in (True, False):
        dispute = stripe.open_dispute(recorder.pay()["id"], inquiry=inquiry)
        recorder.ask("POST", f"disputes/{dispute['id']}", evidence={"service_date": "2027-01-01"})
        recorder.ask("POST", f"disputes/{dispute['id']}/close")
    debit = recorder.pay("pm_usBankAccount")["id"]
    stripe.settle(debit)
    stripe.open_dispute(debit)
    intent = recorder.pay()["id"]
    warning = stripe.warn_of_fraud(intent)
    recorder.ask("POST", "refunds", payment_intent=intent)
    recorder.ask("GET", f"radar/early_fraud_warnings/{warning['id']}", expand=["charge"])


def record_account(recorder: Recorder) -> None:
    """Ask about the account, register an endpoint and forget it."""
    recorder.ask("GET", "account")
    url: Any = {"url": "http://127.0.0.1:9/webhooks", "enabled_events": ["*"]}
    made = recorder.ask("POST", "webhook_endpoints", **url, metadata={"a": "b"})
    recorder.ask("POST", f"webhook_endpoints/{made['id']}", disabled="true")
    path = f"webhook_endpoints/{made['id']}"
    recorder.ask("DELETE", path, as_type="Stripe.DeletedWebhookEndpoint")
    recorder.ask("POST", "webhook_endpoints", **url, api_version="2024-06-20", description="Old")
    for transaction in recorder.stripe.balance_transactions:
        recorder.ask("GET", f"balance_transactions/{transaction}", expand=["source"])


RECORDS = (
    record_intents,
    record_cards,
    record_holds,
    record_debits,
    record_refunds,
    record_disputes,
    record_account,
)


def _typed_in(card: Any) -> dict[str, Any]:
    if card.kind != "card":
        return {"type": card.kind, card.kind: {"account_holder_type": "individual"}}
    return {"type": "card", "card": {"number": card.number, "exp_month": 12, "exp_year": 2050, "cvc": "1234"}}


def _encode(params: Any, *, prefix: str = "") -> list[tuple[str, str]]:
    pairs = []
    for name, value in params.items() if isinstance(params, dict) else enumerate(params):
        key = f"{prefix}[{name}]" if prefix else str(name)
        pairs += _encode(value, prefix=key) if isinstance(value, dict | list) else [(key, str(value))]
    return pairs
