"""The endpoints: which URL takes which parameters, and what it does."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import stripe
from stripe import params as p
from stripe.params import radar
from stripe.params.v2 import core

from octo_stripe_gateway.testing.emulator import domains, thin
from octo_stripe_gateway.testing.emulator.accounts import DEFAULT_ACCOUNT, show_account
from octo_stripe_gateway.testing.emulator.customers import create_customer, update_customer
from octo_stripe_gateway.testing.emulator.endpoints import DESTINATION
from octo_stripe_gateway.testing.emulator.errors import StripeApiError, no_such
from octo_stripe_gateway.testing.emulator.expansion import expand_object
from octo_stripe_gateway.testing.emulator.lists import list_page
from octo_stripe_gateway.testing.emulator.params import Schema
from octo_stripe_gateway.testing.emulator.search import search_intents
from octo_stripe_gateway.testing.emulator.urls import match
from octo_stripe_gateway.testing.emulator.versions import render_answer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from octo_stripe_gateway.testing.emulator.accounts import Accounts, Caller
    from octo_stripe_gateway.testing.emulator.balance import Balance
    from octo_stripe_gateway.testing.emulator.connect import Connect
    from octo_stripe_gateway.testing.emulator.disputes import Disputes
    from octo_stripe_gateway.testing.emulator.endpoints import WebhookEndpoints
    from octo_stripe_gateway.testing.emulator.events import Events
    from octo_stripe_gateway.testing.emulator.intents import PaymentIntents
    from octo_stripe_gateway.testing.emulator.methods import PaymentMethods
    from octo_stripe_gateway.testing.emulator.params import Parameters
    from octo_stripe_gateway.testing.emulator.refunds import Refunds
    from octo_stripe_gateway.testing.emulator.store import JsonObject, Store

NOTHING: Mapping[str, str | None] = {}
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
# The permission of a restricted key for each kind of object, less `rak_` and `_read` or `_write`:
# https://docs.stripe.com/stripe-apps/reference/permissions. Refunds and warnings have none of their own.
RESOURCES = {
    "account": "accounts_kyc_basic",
    "balance_transaction": "balance_transaction_source",
    "charge": "charge",
    "dispute": "dispute",
    "event": "event",
    "payment_intent": "payment_intent",
    "payment_method": "payment_method",
    "payment_method_domain": "payment_method_domain",
    "radar.early_fraud_warning": "charge",
    "refund": "charge",
    "application_fee": "application_fee",
    "balance": "balance",
    "customer": "customer",
    "fee_refund": "application_fee",
    "transfer": "transfer",
    "transfer_reversal": "transfer",
    "v2.core.event": "event",
    "v2.core.event_destination": "webhook",
    "webhook_endpoint": "webhook",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Call:
    """One authenticated request to an endpoint."""

    params: Parameters
    caller: Caller
    target: str | None
    path: str
    version: str

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
    """What a URL takes and does to objects of a kind; `browser` when a publishable key may call it."""

    kind: str
    schema: Schema
    run: Callable[[Call], JsonObject]
    browser: bool = False
    creates_intent: bool = False


class Api:
    """Finds and runs the endpoint of a request."""

    def __init__(
        self,
        store: Store,
        *,
        accounts: Accounts,
        intents: PaymentIntents,
        refunds: Refunds,
        methods: PaymentMethods,
        disputes: Disputes,
        endpoints: WebhookEndpoints,
        connect: Connect,
        balance: Balance,
        events: Events,
    ) -> None:
        self._store = store
        self._events = events
        self._accounts = accounts
        self._balance = balance
        self._endpoints = (
            self._intent_endpoints(intents)
            | self._refund_endpoints(refunds)
            | self._method_endpoints(methods)
            | self._dispute_endpoints(disputes)
            | self._webhook_endpoints(endpoints)
            | self._destinations(endpoints)
            | self._connect_endpoints(connect)
            | self._customer_endpoints()
            | self._domain_endpoints()
            | self._reading_endpoints()
        )

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

    def check_permission(self, endpoint: Endpoint, caller: Caller, *, method: str) -> None:
        """Refuse a call that the key may not make."""
        if caller.publishable and not endpoint.browser:
            raise StripeApiError(NOT_FOR_BROWSERS, status=403, code="secret_key_required", saved=False)
        needed = "read" if method == "GET" else "write"
        self._accounts.check_permission(caller, f"rak_{RESOURCES[endpoint.kind]}_{needed}")

    def run(self, endpoint: Endpoint, call: Call) -> JsonObject:
        """Run an endpoint and return its answer, ids expanded as the request asks."""
        try:
            answer = expand_object(
                self._store,
                endpoint.run(call),
                paths=call.expand,
                check=lambda kind: self._accounts.check_permission(
                    call.caller, f"rak_{RESOURCES[kind]}_read"
                ),
            )
        except StripeApiError as error:
            if call.publishable:
                error.show_only(PUBLIC_FIELDS)
            raise
        if call.publishable and answer["object"] == "payment_intent":
            return {name: answer[name] for name in PUBLIC_FIELDS}
        if call.version != stripe.api_version:
            rendered: JsonObject = render_answer(answer, version=call.version, older=self._store.older_fields)
            return rendered
        return answer

    def _intent_endpoints(self, intents: PaymentIntents) -> dict[str, Endpoint]:
        kind, base = "payment_intent", "/v1/payment_intents"
        return {
            f"POST {base}": Endpoint(
                kind=kind,
                schema=Schema(p.PaymentIntentCreateParams),
                run=lambda call: intents.create(call.params, account=call.account),
                creates_intent=True,
            ),
            f"GET {base}": self._list(kind, p.PaymentIntentListParams, "customer"),
            f"GET {base}/search": Endpoint(
                kind=kind,
                schema=Schema(p.PaymentIntentSearchParams),
                run=lambda call: search_intents(self._store, call.params, account=call.account),
            ),
            f"GET {base}/<target>": Endpoint(
                kind=kind, schema=Schema(p.PaymentIntentRetrieveParams), run=self._intent, browser=True
            ),
            f"POST {base}/<target>": Endpoint(
                kind=kind,
                schema=Schema(p.PaymentIntentUpdateParams),
                run=lambda call: intents.update(self._intent(call), call.params),
            ),
            f"POST {base}/<target>/confirm": Endpoint(
                kind=kind,
                schema=Schema(p.PaymentIntentConfirmParams, also={"client_secret": str}),
                run=lambda call: intents.confirm(
                    self._intent(call), call.params, return_url_optional=call.from_stripe_js
                ),
                browser=True,
            ),
            f"POST {base}/<target>/capture": Endpoint(
                kind=kind,
                schema=Schema(p.PaymentIntentCaptureParams),
                run=lambda call: intents.capture(self._intent(call), call.params),
            ),
            f"POST {base}/<target>/cancel": Endpoint(
                kind=kind,
                schema=Schema(p.PaymentIntentCancelParams),
                run=lambda call: intents.cancel(self._intent(call), call.params),
            ),
        }

    def _refund_endpoints(self, refunds: Refunds) -> dict[str, Endpoint]:
        kind, base = "refund", "/v1/refunds"
        return {
            f"POST {base}": Endpoint(
                kind=kind,
                schema=Schema(p.RefundCreateParams),
                run=lambda call: refunds.create(call.params, account=call.account),
            ),
            f"GET {base}": self._list(kind, p.RefundListParams, "charge", "payment_intent"),
            f"GET {base}/<target>": self._retrieve(kind, p.RefundRetrieveParams),
            f"POST {base}/<target>": Endpoint(
                kind=kind,
                schema=Schema(p.RefundUpdateParams),
                run=lambda call: refunds.update(self._target(kind, call), call.params),
            ),
            f"POST {base}/<target>/cancel": Endpoint(
                kind=kind,
                schema=Schema(p.RefundCancelParams),
                run=lambda call: refunds.cancel(self._target(kind, call)),
            ),
        }

    def _method_endpoints(self, methods: PaymentMethods) -> dict[str, Endpoint]:
        kind, base = "payment_method", "/v1/payment_methods"
        return {
            f"POST {base}": Endpoint(
                kind=kind,
                schema=Schema(p.PaymentMethodCreateParams),
                run=lambda call: methods.create(call.params, account=call.account),
                browser=True,
            ),
            f"GET {base}/<target>": self._retrieve(kind, p.PaymentMethodRetrieveParams),
        }

    def _dispute_endpoints(self, disputes: Disputes) -> dict[str, Endpoint]:
        kind, base = "dispute", "/v1/disputes"
        return {
            f"GET {base}": self._list(kind, p.DisputeListParams, "charge", "payment_intent"),
            f"GET {base}/<target>": self._retrieve(kind, p.DisputeRetrieveParams),
            f"POST {base}/<target>": Endpoint(
                kind=kind,
                schema=Schema(p.DisputeUpdateParams),
                run=lambda call: disputes.update(self._target(kind, call), call.params),
            ),
            f"POST {base}/<target>/close": Endpoint(
                kind=kind,
                schema=Schema(p.DisputeCloseParams),
                run=lambda call: disputes.accept(self._target(kind, call)),
            ),
        }

    def _webhook_endpoints(self, endpoints: WebhookEndpoints) -> dict[str, Endpoint]:
        kind, base = "webhook_endpoint", "/v1/webhook_endpoints"
        return {
            f"POST {base}": Endpoint(
                kind=kind,
                schema=Schema(p.WebhookEndpointCreateParams),
                run=lambda call: endpoints.create(call.params, account=call.account),
            ),
            f"GET {base}": self._list(kind, p.WebhookEndpointListParams),
            f"GET {base}/<target>": self._retrieve(kind, p.WebhookEndpointRetrieveParams),
            f"POST {base}/<target>": Endpoint(
                kind=kind,
                schema=Schema(p.WebhookEndpointUpdateParams),
                run=lambda call: endpoints.update(self._target(kind, call), call.params),
            ),
            f"DELETE {base}/<target>": Endpoint(
                kind=kind,
                schema=Schema(p.WebhookEndpointDeleteParams),
                run=lambda call: endpoints.delete(self._target(kind, call)),
            ),
        }

    def _connect_endpoints(self, connect: Connect) -> dict[str, Endpoint]:
        transfer, fee, account = "/v1/transfers", "/v1/application_fees", "/v1/accounts"
        return {
            f"POST {transfer}": Endpoint(
                kind="transfer",
                schema=Schema(p.TransferCreateParams),
                run=lambda call: connect.transfer(call.params, account=call.account),
            ),
            f"GET {transfer}": self._list("transfer", p.TransferListParams, "destination", "transfer_group"),
            f"GET {transfer}/<target>": self._retrieve("transfer", p.TransferRetrieveParams),
            f"POST {transfer}/<target>/reversals": Endpoint(
                kind="transfer_reversal",
                schema=Schema(p.TransferCreateReversalParams),
                run=lambda call: connect.reverse(self._target("transfer", call), call.params),
            ),
            f"GET {transfer}/<target>/reversals": self._list(
                "transfer_reversal", p.TransferListReversalsParams, of="transfer"
            ),
            f"GET {fee}": self._list("application_fee", p.ApplicationFeeListParams, "charge"),
            f"GET {fee}/<target>": self._retrieve("application_fee", p.ApplicationFeeRetrieveParams),
            f"POST {fee}/<target>/refunds": Endpoint(
                kind="fee_refund",
                schema=Schema(p.ApplicationFeeCreateRefundParams),
                run=lambda call: connect.refund_fee(self._target("application_fee", call), call.params),
            ),
            f"GET {fee}/<target>/refunds": self._list(
                "fee_refund", p.ApplicationFeeListRefundsParams, of="fee"
            ),
            f"POST {account}": Endpoint(
                kind="account",
                schema=Schema(p.AccountCreateParams),
                run=lambda call: show_account(self._accounts.connect(None, platform=call.account)),
            ),
            f"GET {account}": Endpoint(
                kind="account", schema=Schema(p.AccountListParams), run=self._connected_accounts
            ),
            f"GET {account}/<target>": Endpoint(
                kind="account", schema=Schema(p.AccountRetrieveParams), run=self._account
            ),
            "GET /v1/balance": Endpoint(
                kind="balance", schema=Schema(p.BalanceRetrieveParams), run=self._show_balance
            ),
        }

    def _connected_accounts(self, call: Call) -> JsonObject:
        data = [show_account(account) for account in self._accounts.connected_to(call.account)]
        return {"object": "list", "data": data, "has_more": False, "url": "/v1/accounts"}

    def _account(self, call: Call) -> JsonObject:
        known = (call.account or DEFAULT_ACCOUNT, *self._accounts.connected_to(call.account))
        if call.target not in known:
            raise no_such("account", call.target or "", param="account", status=404)
        return show_account(call.target)

    def _show_balance(self, call: Call) -> JsonObject:
        available = [
            {"amount": amount, "currency": currency, "source_types": {"card": amount}}
            for currency, amount in self._balance.of(call.account).items()
        ]
        return {"object": "balance", "available": available, "livemode": False, "pending": []}

    def _customer_endpoints(self) -> dict[str, Endpoint]:
        kind, base = "customer", "/v1/customers"
        return {
            f"POST {base}": Endpoint(
                kind=kind,
                schema=Schema(p.CustomerCreateParams),
                run=lambda call: create_customer(self._store, call.params, account=call.account),
            ),
            f"GET {base}": self._list(kind, p.CustomerListParams, "email"),
            f"GET {base}/<target>": self._retrieve(kind, p.CustomerRetrieveParams),
            f"POST {base}/<target>": Endpoint(
                kind=kind,
                schema=Schema(p.CustomerUpdateParams),
                run=lambda call: update_customer(self._target(kind, call), call.params),
            ),
        }

    def _destinations(self, endpoints: WebhookEndpoints) -> dict[str, Endpoint]:
        kind, base = DESTINATION, "/v2/core/event_destinations"

        def show(item: JsonObject, call: Call) -> JsonObject:
            return endpoints.show_destination(item, include=call.params.get("include", []))

        def list_all(call: Call) -> JsonObject:
            found = [one for one in self._store.each(kind) if self._store.account_of(one) == call.account]
            data = [show(item, call) for item in found]
            return {"data": data, "next_page_url": None, "previous_page_url": None}

        return {
            f"POST {base}": Endpoint(
                kind=kind,
                schema=Schema(core.EventDestinationCreateParams),
                run=lambda call: endpoints.create_destination(call.params, account=call.account),
            ),
            f"GET {base}": Endpoint(kind=kind, schema=Schema(core.EventDestinationListParams), run=list_all),
            f"GET {base}/<target>": Endpoint(
                kind=kind,
                schema=Schema(core.EventDestinationRetrieveParams),
                run=lambda call: show(self._target(kind, call), call),
            ),
            f"DELETE {base}/<target>": Endpoint(
                kind=kind,
                schema=Schema(core.EventDestinationDeleteParams),
                run=lambda call: endpoints.delete(self._target(kind, call)),
            ),
            "GET /v2/core/events/<target>": Endpoint(
                kind=thin.KIND, schema=Schema(core.EventRetrieveParams), run=self._thin_event
            ),
        }

    def _thin_event(self, call: Call) -> JsonObject:
        found = self._store.find(
            "event", thin.snapshot_id(call.target or ""), account=call.account, param="id", status=404
        )
        return thin.thin_event(found) | {"changes": None}

    def _domain_endpoints(self) -> dict[str, Endpoint]:
        kind, base = domains.KIND, "/v1/payment_method_domains"
        return {
            f"POST {base}": Endpoint(
                kind=kind,
                schema=Schema(p.PaymentMethodDomainCreateParams),
                run=lambda call: domains.create_domain(self._store, call.params, account=call.account),
            ),
            f"GET {base}": self._list(kind, p.PaymentMethodDomainListParams, "domain_name", "enabled"),
            f"GET {base}/<target>": self._retrieve(kind, p.PaymentMethodDomainRetrieveParams),
            f"POST {base}/<target>": Endpoint(
                kind=kind,
                schema=Schema(p.PaymentMethodDomainUpdateParams),
                run=lambda call: domains.update_domain(self._target(kind, call), call.params),
            ),
            f"POST {base}/<target>/validate": Endpoint(
                kind=kind,
                schema=Schema(p.PaymentMethodDomainValidateParams),
                run=lambda call: domains.validate_domain(self._target(kind, call)),
            ),
            # Not in Stripe's API reference: what its Stripe.js asks.
            "GET /v1/elements/sessions": Endpoint(
                kind=kind,
                schema=Schema(domains.ElementsSessionParams),
                run=lambda call: domains.show_elements_session(
                    self._store, call.params, account=call.account
                ),
                browser=True,
            ),
        }

    def _reading_endpoints(self) -> dict[str, Endpoint]:
        charge, booked, event = "/v1/charges", "/v1/balance_transactions", "/v1/events"
        warning, kind = "/v1/radar/early_fraud_warnings", "radar.early_fraud_warning"
        by_payment = ("charge", "payment_intent")
        filters = ("payment_intent", "customer", "transfer_group")
        return {
            f"GET {charge}": self._list("charge", p.ChargeListParams, *filters),
            f"GET {charge}/<target>": self._retrieve("charge", p.ChargeRetrieveParams),
            f"GET {booked}": Endpoint(
                kind="balance_transaction",
                schema=Schema(p.BalanceTransactionListParams),
                run=self._list_bookings,
            ),
            f"GET {booked}/<target>": self._retrieve(
                "balance_transaction", p.BalanceTransactionRetrieveParams
            ),
            f"GET {event}": Endpoint(kind="event", schema=Schema(p.EventListParams), run=self._list_events),
            f"GET {event}/<target>": Endpoint(
                kind="event",
                schema=Schema(p.EventRetrieveParams),
                run=lambda call: self._events.show(self._target("event", call)),
            ),
            f"GET {warning}": self._list(kind, radar.EarlyFraudWarningListParams, *by_payment),
            f"GET {warning}/<target>": self._retrieve(kind, radar.EarlyFraudWarningRetrieveParams),
            "GET /v1/account": Endpoint(
                kind="account",
                schema=Schema(p.AccountRetrieveCurrentParams),
                run=lambda call: show_account(call.account),
            ),
        }

    def _list_events(self, call: Call) -> JsonObject:
        wanted = call.params.get("delivery_success")

        def keep(item: JsonObject) -> bool:
            return wanted is None or (self._events.show(item)["pending_webhooks"] == 0) is wanted

        page = self._page("event", call, filters=("type",), keep=keep)
        return page | {"data": [self._events.show(item) for item in page["data"]]}

    def _list_bookings(self, call: Call) -> JsonObject:
        if payout := call.params.get("payout"):
            # Nothing is paid out here.
            raise no_such("payout", payout, param="payout", status=400)
        return self._page("balance_transaction", call, filters=("currency", "source", "type"))

    def _page(
        self,
        kind: str,
        call: Call,
        *,
        filters: tuple[str, ...],
        keep: Callable[[JsonObject], bool] = lambda _item: True,
        matching: Mapping[str, str | None] = NOTHING,
    ) -> JsonObject:
        return list_page(
            self._store,
            kind,
            account=call.account,
            params=call.params | {**matching},
            url=call.path,
            filters=(*filters, *matching),
            keep=keep,
        )

    def _retrieve(self, kind: str, description: Any) -> Endpoint:
        return Endpoint(kind=kind, schema=Schema(description), run=lambda call: self._target(kind, call))

    def _list(self, kind: str, description: Any, *filters: str, of: str = "") -> Endpoint:
        def run(call: Call) -> JsonObject:
            return self._page(kind, call, filters=filters, matching={of: call.target} if of else NOTHING)

        return Endpoint(kind=kind, schema=Schema(description), run=run)

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
