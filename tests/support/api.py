"""The payment API as a host's own backend or SPA would call it."""

from __future__ import annotations

import json
from typing import Any, Literal

from django.test import Client

from octo_stripe_gateway.testing.emulator import Fault, StripeEmulator

When = Literal["before", "after"]


class GatewayApi:
    """Sends JSON with the API key to the app mounted at /bookings."""

    def __init__(self, client: Client, *, prefix: str = "/bookings", key: str = "gateway-key") -> None:
        self.client = client
        self.prefix = prefix
        self.key = key

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        content_type: str = "application/json",
        **headers: str,
    ) -> Any:
        if self.key:
            headers.setdefault("Authorization", f"Bearer {self.key}")
        return self.client.generic(
            method,
            self.prefix + path,
            body if isinstance(body, (bytes, str)) else _dump(body),
            content_type=content_type,
            headers=headers,
        )

    def create(self, body: Any = None, **headers: str) -> Any:
        body = {"amount": 2000, "currency": "usd"} if body is None else body
        return self.request("POST", "/payments", body, **headers)

    def retrieve(self, payment: Any) -> Any:
        return self.request("GET", f"/payments/{_get_id(payment)}")

    def list_payments(self, query: str = "", **headers: str) -> Any:
        return self.request("GET", f"/payments{query}", **headers)

    def complete(self, payment: Any, body: Any = None) -> Any:
        return self.request("PATCH", f"/payments/{_get_id(payment)}/complete", body)

    def refund(self, payment: Any, body: Any = None, **headers: str) -> Any:
        return self.request("POST", f"/payments/{_get_id(payment)}/refund", body, **headers)

    def capture(self, payment: Any, body: Any = None, **headers: str) -> Any:
        return self.request("POST", f"/payments/{_get_id(payment)}/capture", body, **headers)

    def cancel(self, payment: Any, body: Any = None, **headers: str) -> Any:
        return self.request("POST", f"/payments/{_get_id(payment)}/cancel", body, **headers)

    def deliver(self, stripe: StripeEmulator, *types: str) -> list[Any]:
        """Post the emulator's events of these types, or all of them, as Stripe would."""
        events = [event for event in stripe.events if not types or event.type in types]
        return [self.post_event(*stripe.signed(event)) for event in events]

    def post_event(self, body: bytes, signature: str) -> Any:
        return self.client.post(
            f"{self.prefix}/webhooks",
            body,
            content_type="application/json",
            headers={"Stripe-Signature": signature},
        )

    def paid_at_stripe(self, stripe: StripeEmulator, body: Any = None) -> Any:
        """Create a payment, pay it, and return its JSON; the ledger doesn't know yet that it is paid."""
        payment = self.create(body).json()
        stripe.confirm(payment["stripePaymentIntentId"], payment_method="pm_card_visa")
        return payment

    def paid(self, stripe: StripeEmulator, body: Any = None) -> Any:
        """Create a payment, pay it, complete it, and return its JSON."""
        return self.complete(self.paid_at_stripe(stripe, body)).json()

    def authorized(self, stripe: StripeEmulator, body: Any = None) -> Any:
        """Create a payment to be captured later, authorize it, complete it, and return its JSON."""
        return self.paid(
            stripe, {"amount": 2000, "currency": "usd", "captureMethod": "manual", **(body or {})}
        )

    def unanswered_refund(self, stripe: StripeEmulator, body: Any = None, *, when: When = "before") -> Any:
        """Pay, ask for a refund that Stripe doesn't answer, and return the payment's JSON."""
        payment = self.paid(stripe)
        stripe.add_fault(Fault(kind="reset", path="/v1/refunds", when=when))
        assert self.refund(payment, body).status_code == 503
        return payment


def _dump(body: Any) -> str:
    return "" if body is None else json.dumps(body)


def _get_id(payment: Any) -> Any:
    return payment["id"] if isinstance(payment, dict) else payment
