"""What a test or a person at the terminal may command: customers, banks, colleagues, webhooks, trouble."""

from __future__ import annotations

import contextlib
import copy
from typing import TYPE_CHECKING, Any, Literal, get_args

from octo_stripe_gateway.testing.emulator.endpoints import OWN, Payload
from octo_stripe_gateway.testing.emulator.errors import StripeApiError
from octo_stripe_gateway.testing.emulator.faults import Hold
from octo_stripe_gateway.testing.emulator.server import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from octo_stripe_gateway.testing.emulator.accounts import Accounts, EmulatedAccount
    from octo_stripe_gateway.testing.emulator.balance import Balance
    from octo_stripe_gateway.testing.emulator.charges import Charges
    from octo_stripe_gateway.testing.emulator.connect import Connect
    from octo_stripe_gateway.testing.emulator.delivery import Delivery
    from octo_stripe_gateway.testing.emulator.disputes import Disputes
    from octo_stripe_gateway.testing.emulator.endpoints import WebhookEndpoints
    from octo_stripe_gateway.testing.emulator.events import Events, LoggedEvent, Order
    from octo_stripe_gateway.testing.emulator.faults import Fault, Faults, When
    from octo_stripe_gateway.testing.emulator.fraud import FraudWarnings
    from octo_stripe_gateway.testing.emulator.intents import PaymentIntents
    from octo_stripe_gateway.testing.emulator.refunds import Funds, Refunds
    from octo_stripe_gateway.testing.emulator.server import Application, HttpServer, LoggedRequest
    from octo_stripe_gateway.testing.emulator.state import State
    from octo_stripe_gateway.testing.emulator.store import JsonObject, Store

DECLINED = 402
RefundStatus = Literal["succeeded", "failed", "pending", "requires_action", "canceled"]


class Commands:
    """Takes commands; `StripeEmulator` makes the parts that carry them out."""

    _accounts: Accounts
    _application: Application
    _balance: Balance
    _charges: Charges
    _connect: Connect
    _disputes: Disputes
    _endpoints: WebhookEndpoints
    _events: Events
    _faults: Faults
    _fraud: FraudWarnings
    _intents: PaymentIntents
    _refunds: Refunds
    _server: HttpServer | None
    _state: State
    _store: Store

    def reset(self) -> None:
        """Forget objects, accounts, events, logs, keys, faults and another clock; the settings stay."""
        self._faults.clear()
        # A request that its client gave up on would otherwise finish after the reset.
        self._application.wait_for_answers()
        with self._changing():
            self._events.clear()
            self._store.clear()
            self._store.clock = self._store.given_clock
            self._accounts.clear()
            self._endpoints.clear()
            self._endpoints.payload = "snapshot"
            self._refunds.clear()
            self._connect.drained.clear()
            self._balance.rates.clear()
            self._application.keys.clear()
            self._application.log.clear()
        self._state.save(anew=True)

    @property
    def url(self) -> str:
        """The address to give to the SDK: `StripeClient(key, base_addresses={"api": url})`."""
        if self._server is None:
            raise RuntimeError("The emulator isn't running: start it first.")
        return f"http://{LOOPBACK}:{self._server.port}"

    @property
    def webhook_url(self) -> str | None:
        """Where events are delivered; with None they are only recorded."""
        return self._endpoints.url

    @webhook_url.setter
    def webhook_url(self, url: str | None) -> None:
        self._endpoints.url = url

    @property
    def webhook_secret(self) -> str:
        return self._endpoints.secret

    @webhook_secret.setter
    def webhook_secret(self, secret: str) -> None:
        self._endpoints.secret = secret

    @property
    def webhook_api_version(self) -> str:
        """The endpoint's API version, which decides the events that it gets and how they look."""
        return self._endpoints.api_version

    @webhook_api_version.setter
    def webhook_api_version(self, version: str) -> None:
        self._endpoints.api_version = version

    @property
    def clock(self) -> Callable[[], float]:
        """The clock behind `created` and all other times."""
        return self._store.clock

    @clock.setter
    def clock(self, clock: Callable[[], float]) -> None:
        self._store.clock = clock

    @property
    def webhook_payload(self) -> Payload:
        """Whether the endpoint gets `snapshot` events, or `thin` ones that name their object only."""
        return self._endpoints.payload

    @webhook_payload.setter
    def webhook_payload(self, payload: Payload) -> None:
        if payload not in get_args(Payload):
            raise ValueError(f"Events are {' or '.join(get_args(Payload))}, not {payload}.")
        self._endpoints.payload = payload

    # What happened.

    @property
    def requests(self) -> list[LoggedRequest]:
        """Every API request, in the order of arrival."""
        return list(self._application.log)

    @property
    def events(self) -> list[LoggedEvent]:
        """Every event, in the order in which things happened."""
        return list(self._events.log)

    @property
    def payment_intents(self) -> Mapping[str, JsonObject]:
        """The intents by id: copies, as in all these properties."""
        return self._store.copies("payment_intent")

    @property
    def charges(self) -> Mapping[str, JsonObject]:
        return self._store.copies("charge")

    @property
    def refunds(self) -> Mapping[str, JsonObject]:
        return self._store.copies("refund")

    @property
    def disputes(self) -> Mapping[str, JsonObject]:
        return self._store.copies("dispute")

    @property
    def balance_transactions(self) -> Mapping[str, JsonObject]:
        return self._store.copies("balance_transaction")

    @property
    def transfers(self) -> Mapping[str, JsonObject]:
        return self._store.copies("transfer")

    @property
    def application_fees(self) -> Mapping[str, JsonObject]:
        return self._store.copies("application_fee")

    @property
    def payment_method_domains(self) -> Mapping[str, JsonObject]:
        """Domains on which wallets may be shown."""
        return self._store.copies("payment_method_domain")

    @property
    def webhook_endpoints(self) -> Mapping[str, JsonObject]:
        return self._store.copies("webhook_endpoint")

    # What a customer, a bank or a colleague at the dashboard does.

    def confirm(
        self, intent_id: str, payment_method: str = "pm_card_visa", *, return_url: str | None = None
    ) -> JsonObject:
        """Pay as the customer's browser would; a decline raises nothing and is in `last_payment_error`."""
        params = {"payment_method": payment_method, "return_url": return_url}
        with self._changing():
            intent = self._store.get(intent_id)
            return self._attempt(
                intent, lambda: self._intents.confirm(intent, params, return_url_optional=True)
            )

    def authenticate(self, intent_id: str, *, succeed: bool = True) -> JsonObject:
        """Complete or fail the challenge that an intent waits for."""
        with self._changing():
            intent = self._store.get(intent_id)
            return self._attempt(intent, lambda: self._intents.authenticate(intent, succeed=succeed))

    def create_intent(
        self, amount: int = 2000, *, currency: str = "usd", account: str | None = None, **params: Any
    ) -> JsonObject:
        """Create a PaymentIntent, as another server with the same key would; `params` aren't checked."""
        methods = {"enabled": True, "allow_redirects": "never"}
        given = {"amount": amount, "currency": currency, "automatic_payment_methods": methods, **params}
        with self._changing():
            return copy.deepcopy(self._intents.create(given, account=account))

    def capture(self, intent_id: str, *, amount: int | None = None) -> JsonObject:
        """Capture a hold as in the dashboard."""
        given = {} if amount is None else {"amount_to_capture": amount}
        with self._changing():
            return copy.deepcopy(self._intents.capture(self._store.get(intent_id), given))

    def cancel(self, intent_id: str, *, reason: str | None = None) -> JsonObject:
        """Cancel an intent as in the dashboard."""
        with self._changing():
            intent = self._store.get(intent_id)
            return copy.deepcopy(self._intents.cancel(intent, {"cancellation_reason": reason}))

    def settle(self, intent_id: str, *, succeed: bool = True) -> JsonObject:
        """Settle a `processing` intent or a voucher, for better or worse."""
        with self._changing():
            intent = self._store.get(intent_id)
            return copy.deepcopy(self._intents.settle(intent, succeed=succeed))

    def expire(self, intent_id: str) -> JsonObject:
        """Let an authorization run out, as Stripe does after a week; it is canceled as `expired`."""
        with self._changing():
            return copy.deepcopy(self._intents.expire(self._store.get(intent_id)))

    def refund(
        self,
        intent_id: str,
        *,
        amount: int | None = None,
        reverse_transfer: bool = False,
        refund_application_fee: bool = False,
    ) -> JsonObject:
        """Refund as in the dashboard: without metadata, and without any request."""
        given = {} if amount is None else {"amount": amount}
        with self._changing():
            account = self._store.account_of(self._store.get(intent_id))
            params = {
                "payment_intent": intent_id,
                "reverse_transfer": reverse_transfer,
                "refund_application_fee": refund_application_fee,
                **given,
            }
            return copy.deepcopy(self._refunds.create(params, account=account))

    def settle_refund(self, refund_id: str, *, status: RefundStatus, reason: str | None = None) -> JsonObject:
        """Move a refund on; a succeeded one may still fail, and its amount returns."""
        with self._changing():
            refund = self._store.get(refund_id)
            return copy.deepcopy(self._refunds.settle(refund, status=status, reason=reason))

    def drain_balance(self, *, refunds: Funds = "refused", account: str | None = None) -> None:
        """Leave no balance for refunds: they are `refused` (400), or `pending` until it is topped up.

        With a connected account, only its refunds and the reversals of its transfers are refused.
        """
        if account:
            with self._changing():
                self._connect.drained.add(account)
            return
        if refunds not in ("refused", "pending"):
            raise ValueError(f"Refunds are refused or pending, not {refunds}.")
        with self._changing():
            self._refunds.funds = refunds

    def top_up_balance(self) -> None:
        """Restore the balance; refunds that wait for it are made."""
        with self._changing():
            self._connect.drained.clear()
            self._refunds.top_up()

    def exchange(self, currency: str, *, into: str, rate: float) -> None:
        """From now on, convert payments in one currency to another at this rate."""
        with self._changing():
            self._balance.rates[currency] = (into, rate)

    def open_dispute(
        self,
        intent_id: str,
        *,
        reason: str = "fraudulent",
        amount: int | None = None,
        currency: str | None = None,
        inquiry: bool = False,
    ) -> JsonObject:
        """Dispute a payment, as its cardholder's bank does; an `inquiry` moves no money yet.

        Pending refunds of the payment fail as `charge_for_pending_refund_disputed`.
        """
        with self._changing():
            charge = self._store.get(self._store.get(intent_id)["latest_charge"])
            opened = self._disputes.open(
                charge, reason=reason, amount=amount, currency=currency, inquiry=inquiry
            )
            if not inquiry:
                self._refunds.fail_disputed(charge)
            return copy.deepcopy(opened)

    def reopen_dispute(self, dispute_id: str, *, status: str = "appeal_needs_response") -> JsonObject:
        """Go on with a decided dispute (`appeal_under_review`, `needs_response` …), or with an inquiry."""
        with self._changing():
            return copy.deepcopy(self._disputes.reopen(self._store.get(dispute_id), status=status))

    def close_dispute(self, dispute_id: str, *, won: bool) -> JsonObject:
        """Decide a dispute, for or against the merchant."""
        with self._changing():
            return copy.deepcopy(self._disputes.close(self._store.get(dispute_id), won=won))

    def warn_of_fraud(self, intent_id: str, *, fraud_type: str = "unauthorized_use_of_card") -> JsonObject:
        """Send an early fraud warning, as the cardholder's bank does."""
        with self._changing():
            charge = self._store.get(self._store.get(intent_id)["latest_charge"])
            return copy.deepcopy(self._fraud.warn(charge, fraud_type=fraud_type))

    def book(self, intent_id: str) -> JsonObject:
        """Book the late balance transaction of a payment; sends `charge.updated`."""
        with self._changing():
            charge = self._store.get(self._store.get(intent_id)["latest_charge"])
            return copy.deepcopy(self._charges.book_late(charge))

    # Webhooks.

    @property
    def delivery_delay(self) -> float:
        """Seconds to wait before the first attempt to deliver an event."""
        return self._events.delivery_delay

    @delivery_delay.setter
    def delivery_delay(self, seconds: float) -> None:
        self._events.delivery_delay = seconds

    @property
    def delivery_copies(self) -> int:
        """How many times each event is delivered."""
        return self._events.copies

    @delivery_copies.setter
    def delivery_copies(self, copies: int) -> None:
        self._events.copies = copies

    def event(self, event: LoggedEvent | str) -> LoggedEvent:
        """Return the event of that id, or the latest of that type."""
        if not isinstance(event, str):
            return event
        for logged in reversed(self._events.log):
            if event in (logged.id, logged.type):
                return logged
        raise KeyError(event)

    def deliver_webhook(
        self,
        event: LoggedEvent | str,
        *,
        secret: str | None = None,
        timestamp: int | None = None,
        api_version: str | None = None,
    ) -> Delivery:
        """Send one event now, once, from the caller's thread."""
        return self._events.deliver(
            self.event(event), secret=secret, timestamp=timestamp, api_version=api_version
        )

    def signed(
        self,
        event: LoggedEvent | str,
        *,
        secret: str | None = None,
        timestamp: int | None = None,
        api_version: str | None = None,
        endpoint: str = OWN,
        payload: Payload | None = None,
    ) -> tuple[bytes, str]:
        """Return an event's raw body and `Stripe-Signature`, to post it yourself.

        With `endpoint`, the id of a registered one, the event is rendered and signed for that endpoint.
        `payload="thin"` makes it the thin event about the same change.
        """
        return self._events.signed(
            self.event(event),
            secret=secret,
            timestamp=timestamp,
            api_version=api_version,
            endpoint=endpoint,
            payload=payload,
        )

    def withhold(self, *types: str) -> None:
        """Withhold events of these types (`payment_intent.*`), or of all types if none is given."""
        with self._changing():
            self._events.withhold(*types)

    @property
    def withheld(self) -> list[LoggedEvent]:
        return list(self._events.withheld)

    def release(
        self,
        *,
        order: Order | Callable[[list[LoggedEvent]], Sequence[LoggedEvent]] = "created",
        copies: int = 1,
        delay: float = 0.0,
        keep_withholding: bool = False,
    ) -> list[LoggedEvent]:
        """Deliver the withheld events in this order, and return them.

        A callable gets the events and returns those to deliver; it may drop, reorder and repeat them. What
        it drops is never delivered.
        """
        released = self._events.release(
            order=order, copies=copies, delay=delay, keep_withholding=keep_withholding
        )
        self._state.save()
        return released

    def wait_for_deliveries(self, timeout: float = 30.0) -> None:
        """Wait until no delivery is pending; raises TimeoutError when that takes longer."""
        if not self._events.wait(timeout):
            raise TimeoutError(f"Events are still being delivered after {timeout} seconds.")

    # Trouble.

    def add_fault(self, fault: Fault) -> None:
        """Spoil the next requests that the fault matches."""
        self._faults.add(fault)

    def clear_faults(self) -> None:
        """Forget the faults, and release held requests."""
        self._faults.clear()

    def hold(self, method: str = "POST", path: str = "/v1/", *, when: When = "after") -> Hold:
        """Hold matching requests, before or after their work, until the hold is released."""
        return self._faults.hold(Hold(method=method, path=path, when=when))

    def forget_idempotency_keys(self) -> None:
        """Forget every idempotency key, as Stripe does after a day or more."""
        self._application.keys.clear()
        self._state.save(anew=True)

    def accept_keys(self, keys: Collection[str] | None) -> None:
        """Accept these API keys only; every well-formed test key when None."""
        self._accounts.api_keys = keys

    def restrict(self, key: str, *permissions: str) -> None:
        """Give a restricted key (`rk_test_…`) these permissions only, such as `rak_charge_read`.

        Without this it may do everything, as a secret key may.
        """
        with self._changing():
            self._accounts.restrict(key, permissions=permissions)

    def add_account(self, *keys: str, account: str | None = None) -> EmulatedAccount:
        """Make an account of its own, with these keys or with new ones.

        Keys made by Stripe name their account, so those are kept apart anyway; all other keys share one
        account unless they are given here.
        """
        with self._changing():
            return self._accounts.add(keys, account=account)

    def connect_account(self, account: str | None = None, *, platform: str | None = None) -> str:
        """Connect an account, of this id or a new one, to a platform, and return its id.

        `platform` is an account's id; by default it is the account that most keys share. The connected
        account can then be named as `Stripe-Account`, as a transfer's destination and `on_behalf_of`.
        """
        with self._changing():
            return self._accounts.connect(account, platform=platform)

    def balances(self, account: str | None = None) -> dict[str, int]:
        """Return an account's balance by currency; by default that of the account that most keys share."""
        with self._store.lock:
            return self._balance.of(account)

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        """Change the state under its lock, and save it."""
        try:
            with self._store.lock:
                yield
        finally:
            self._state.save()

    def _attempt(self, intent: JsonObject, act: Callable[[], JsonObject]) -> JsonObject:
        try:
            act()
        except StripeApiError as error:
            if error.status != DECLINED:
                raise
        return copy.deepcopy(intent)
