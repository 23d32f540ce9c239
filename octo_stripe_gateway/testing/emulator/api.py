"""The endpoints: which URL takes which parameters, and what it does."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from stripe.params import (
    ChargeListParams,
    ChargeRetrieveParams,
    DisputeListParams,
    DisputeRetrieveParams,
    EventListParams,
    EventRetrieveParams,
    PaymentIntentCancelParams,
    PaymentIntentCaptureParams,
    PaymentIntentConfirmParams,
    PaymentIntentCreateParams,
    PaymentIntentListParams,
    PaymentIntentRetrieveParams,
    PaymentIntentUpdateParams,
    PaymentMethodCreateParams,
    PaymentMethodRetrieveParams,
    RefundCancelParams,
    RefundCreateParams,
    RefundListParams,
    RefundRetrieveParams,
    RefundUpdateParams,
)

from octo_stripe_gateway.testing.emulator.errors import StripeApiError, no_such
from octo_stripe_gateway.testing.emulator.lists import list_page
from octo_stripe_gateway.testing.emulator.params import Schema
from octo_stripe_gateway.testing.emulator.urls import match

if TYPE_CHECKING:
    from collections.abc import Callable

    from octo_stripe_gateway.testing.emulator.accounts import Caller
    from octo_stripe_gateway.testing.emulator.intents import PaymentIntents
    from octo_stripe_gateway.testing.emulator.methods import PaymentMethods
    from octo_stripe_gateway.testing.emulator.params import Parameters
    from octo_stripe_gateway.testing.emulator.refunds import Refunds
    from octo_stripe_gateway.testing.emulator.store import JsonObject, Store

NOT_FOR_BROWSERS = (
    "This API call cannot be made with a publishable API key. Please use a secret API key. You "
    "can find a list of your API keys at https://dashboard.stripe.com/account/apikeys."
)
# What Stripe shows of an intent to a browser.
PUBLIC_FIELDS = (
    "id object amount amount_details automatic_payment_methods canceled_at cancellation_reason "
    "capture_method client_secret confirmation_method created currency description "
    "last_payment_error livemode next_action payment_method "
    "payment_method_configuration_details payment_method_types processing receipt_email "
    "setup_future_usage shipping source status"
).split()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Call:
    """One authenticated request to an endpoint."""

    params: Parameters
    caller: Caller
    target: str | None

    @property
    def account(self) -> str | None:
        return self.caller.account

    @property
    def publishable(self) -> bool:
        return self.caller.publishable

    @property
    def from_stripe_js(self) -> bool:
        return self.publishable and bool(self.params.get("use_stripe_sdk"))

    @property
    def expand(self) -> list[str]:
        return list(self.params.get("expand", []))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Endpoint:
    """What a URL takes and does; `browser` when a publishable key may call it."""

    schema: Schema
    run: Callable[[Call], JsonObject]
    browser: bool = False


class Api:
    """Finds and runs the endpoint of a request."""

    def __init__(
        self, store: Store, *, intents: PaymentIntents, refunds: Refunds, methods: PaymentMethods
    ) -> None:
        self._store = store
        self._intents = intents
        self._refunds = refunds
        self._methods = methods
        self._endpoints = self._intent_endpoints() | self._other_endpoints()

    def find(self, method: str, path: str) -> tuple[Endpoint, str | None]:
        """Return the endpoint of a URL and the id in it, or refuse an unknown URL."""
        matched = match(tuple(self._endpoints), method=method, path=path)
        if matched is None:
            raise StripeApiError(
                f"Unrecognized request URL ({method}: {path}). Please see "
                "https://stripe.com/docs or we can help at https://support.stripe.com/.",
                status=404,
                saved=False,
            )
        name, target = matched
        return self._endpoints[name], target

    def is_for_browsers(self, method: str, path: str) -> bool:
        """Return whether a publishable key may call this URL."""
        try:
            return self.find(method, path)[0].browser
        except StripeApiError:
            return False

    def run(self, endpoint: Endpoint, call: Call) -> JsonObject:
        """Run an endpoint and return its answer, ids expanded as the request asks."""
        if call.publishable and not endpoint.browser:
            raise StripeApiError(NOT_FOR_BROWSERS, status=403, code="secret_key_required", saved=False)
        try:
            answer = self._store.rendered(endpoint.run(call), expand=call.expand)
        except StripeApiError as error:
            if call.publishable:
                error.show_only(PUBLIC_FIELDS)
            raise
        if call.publishable and answer["object"] == "payment_intent":
            return {name: answer[name] for name in PUBLIC_FIELDS}
        return answer

    def _intent_endpoints(self) -> dict[str, Endpoint]:
        base = "/v1/payment_intents"
        secret = {"client_secret": str}
        intents = self._intents
        return {
            f"POST {base}": Endpoint(
                schema=Schema(PaymentIntentCreateParams),
                run=lambda call: intents.create(call.params, account=call.account),
            ),
            f"GET {base}": self._list("payment_intent", PaymentIntentListParams, "customer"),
            f"GET {base}/<target>": Endpoint(
                schema=Schema(PaymentIntentRetrieveParams), run=self._intent, browser=True
            ),
            f"POST {base}/<target>": Endpoint(
                schema=Schema(PaymentIntentUpdateParams),
                run=lambda call: intents.update(self._intent(call), call.params),
            ),
            f"POST {base}/<target>/confirm": Endpoint(
                schema=Schema(PaymentIntentConfirmParams, also=secret),
                run=lambda call: intents.confirm(
                    self._intent(call), call.params, return_url_optional=call.from_stripe_js
                ),
                browser=True,
            ),
            f"POST {base}/<target>/capture": Endpoint(
                schema=Schema(PaymentIntentCaptureParams),
                run=lambda call: intents.capture(self._intent(call), call.params),
            ),
            f"POST {base}/<target>/cancel": Endpoint(
                schema=Schema(PaymentIntentCancelParams),
                run=lambda call: intents.cancel(self._intent(call), call.params),
            ),
        }

    def _other_endpoints(self) -> dict[str, Endpoint]:
        refunds = self._refunds
        by_charge = ("charge", "payment_intent")
        return {
            "POST /v1/refunds": Endpoint(
                schema=Schema(RefundCreateParams),
                run=lambda call: refunds.create(call.params, account=call.account),
            ),
            "GET /v1/refunds": self._list("refund", RefundListParams, *by_charge),
            "GET /v1/refunds/<target>": self._retrieve("refund", RefundRetrieveParams),
            "POST /v1/refunds/<target>": Endpoint(
                schema=Schema(RefundUpdateParams),
                run=lambda call: refunds.update(self._target("refund", call), call.params),
            ),
            "POST /v1/refunds/<target>/cancel": Endpoint(
                schema=Schema(RefundCancelParams),
                run=lambda call: refunds.cancel(self._target("refund", call)),
            ),
            "GET /v1/charges": self._list(
                "charge", ChargeListParams, "payment_intent", "customer", "transfer_group"
            ),
            "GET /v1/charges/<target>": self._retrieve("charge", ChargeRetrieveParams),
            "GET /v1/disputes": self._list("dispute", DisputeListParams, *by_charge),
            "GET /v1/disputes/<target>": self._retrieve("dispute", DisputeRetrieveParams),
            "POST /v1/payment_methods": Endpoint(
                schema=Schema(PaymentMethodCreateParams),
                run=lambda call: self._methods.create(call.params, account=call.account),
                browser=True,
            ),
            "GET /v1/payment_methods/<target>": self._retrieve("payment_method", PaymentMethodRetrieveParams),
            "GET /v1/events": self._list("event", EventListParams, "type"),
            "GET /v1/events/<target>": self._retrieve("event", EventRetrieveParams),
        }

    def _retrieve(self, kind: str, description: Any) -> Endpoint:
        return Endpoint(schema=Schema(description), run=lambda call: self._target(kind, call))

    def _list(self, kind: str, description: Any, *filters: str) -> Endpoint:
        def run(call: Call) -> JsonObject:
            return list_page(
                self._store,
                kind,
                account=call.account,
                params=call.params,
                url=f"/v1/{kind}s",
                filters=filters,
            )

        return Endpoint(schema=Schema(description), run=run)

    def _target(self, kind: str, call: Call, *, param: str | None = None) -> JsonObject:
        return self._store.find(
            kind, call.target or "", account=call.account, param=param or kind, status=404
        )

    def _intent(self, call: Call) -> JsonObject:
        intent = self._target("payment_intent", call, param="intent")
        given = call.params.get("client_secret")
        if call.publishable and not given:
            raise no_such("payment_intent", intent["id"], param="intent", status=404)
        if given not in (None, intent["client_secret"]):
            raise StripeApiError(
                "The client_secret provided does not match any associated PaymentIntent on this account.",
                code="payment_intent_invalid_parameter",
                param="client_secret",
                saved=False,
            )
        return intent
