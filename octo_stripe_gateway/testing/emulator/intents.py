"""PaymentIntents: Stripe's state machine, from creation to capture or cancellation."""

from __future__ import annotations

import copy
import random
import string
from typing import TYPE_CHECKING, Any

from octo_stripe_gateway.testing.emulator import cards
from octo_stripe_gateway.testing.emulator.charges import can_capture_often
from octo_stripe_gateway.testing.emulator.currencies import (
    check_amount,
    check_currency,
    check_method_maximum,
    check_step,
    format_amount,
)
from octo_stripe_gateway.testing.emulator.descriptors import NOT_FOR_CARDS, check_descriptors
from octo_stripe_gateway.testing.emulator.errors import (
    InvalidParameterError,
    StripeApiError,
    unexpected_state,
)
from octo_stripe_gateway.testing.emulator.methods import NO_ADDRESS
from octo_stripe_gateway.testing.emulator.params import merged_metadata, too_small
from octo_stripe_gateway.testing.emulator.store import random_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from octo_stripe_gateway.testing.emulator.cards import Decline
    from octo_stripe_gateway.testing.emulator.charges import Charges
    from octo_stripe_gateway.testing.emulator.connect import Connect
    from octo_stripe_gateway.testing.emulator.events import Emit
    from octo_stripe_gateway.testing.emulator.methods import PaymentMethods
    from octo_stripe_gateway.testing.emulator.params import Parameters
    from octo_stripe_gateway.testing.emulator.store import JsonObject, Store

DECISIVE = ("amount", "currency", "capture_method", "payment_method", "payment_method_data")
OPEN = ("requires_payment_method", "requires_confirmation", "requires_action")
CANCELABLE = ("requires_payment_method", "requires_capture", "requires_confirmation", "requires_action")
AUTHENTICATION_FAILED = (
    "The provided PaymentMethod has failed authentication. You can provide payment_method_data or "
    "a new PaymentMethod to attempt to fulfill this PaymentIntent again."
)
NO_PAYMENT_METHOD = (
    "You cannot confirm this PaymentIntent because it's missing a payment method. You can either "
    "update the PaymentIntent with a payment method and then confirm it again, or confirm it again "
    "directly with a payment method or ConfirmationToken."
)
NO_RETURN_URL = (
    "This PaymentIntent is configured to accept payment methods enabled in your Dashboard. Because some "
    "of these payment methods might redirect your customer off of your page, you must provide a "
    "`return_url`. If you don't want to accept redirect-based payment methods, set "
    "`automatic_payment_methods[enabled]` to `true` and `automatic_payment_methods[allow_redirects]` to "
    "`never` when creating Setup Intents and Payment Intents."
)
NOT_SEVERAL = (
    "The `final_capture` parameter can only be `false` when multicapture is available for this PaymentIntent."
)
NOT_CONFIRMABLE = {
    "succeeded": "it has already succeeded after being previously confirmed.",
    "requires_capture": "it has already been confirmed and is waiting to be captured.",
    "processing": "it has a status of processing.",
    "canceled": (
        "it has a status of canceled. Only a PaymentIntent with one of the following statuses may "
        "be confirmed: requires_confirmation, requires_action, requires_payment_method."
    ),
}
VOUCHER_SECONDS = 3 * 86_400
CONFIGURATION = {"id": "pmc_1EmulatedStripe", "parent": None}
OPTIONS: dict[str, JsonObject] = {
    "card": {
        "installments": None,
        "mandate_options": None,
        "network": None,
        "request_three_d_secure": "automatic",
    },
    "us_bank_account": {"verification_method": "automatic"},
    "sepa_debit": {},
    **{kind: {"expires_after_days": 3} for kind in cards.VOUCHERS},
}
PLAIN_FIELDS = (
    "application_fee_amount",
    "description",
    "on_behalf_of",
    "receipt_email",
    "setup_future_usage",
    "shipping",
    "statement_descriptor",
    "statement_descriptor_suffix",
    "transfer_data",
    "transfer_group",
)


class PaymentIntents:
    """Creates intents and moves them from status to status."""

    def __init__(
        self,
        store: Store,
        *,
        emit: Emit,
        charges: Charges,
        methods: PaymentMethods,
        connect: Connect,
        challenge_url: Callable[[str], str],
    ) -> None:
        self._store = store
        self._emit = emit
        self._charges = charges
        self._methods = methods
        self._connect = connect
        self._challenge_url = challenge_url

    def create(self, params: Parameters, *, account: str | None) -> JsonObject:
        """Create an intent, and confirm it at once when `confirm` says so."""
        currency = check_currency(params["currency"])
        check_amount(params["amount"], currency=currency)
        check_descriptors(params)
        self._check_named(params, account=account)
        self._connect.check(params, account=account, amount=params["amount"], destination=None)
        _check_confirmation_only(params)
        if params.get("confirm"):
            _check_return_url(params, automatic=_automatic(params))
        method = self._named_method(params, account=account)
        intent = self._store.new(
            "payment_intent", account=account, **_blank_intent(params | {"currency": currency})
        )
        intent["application"] = self._connect.application_of(account)
        intent["client_secret"] = f"{intent['id']}_secret_{random_text(25)}"
        if method:
            self._attach(intent, method=method)
        self._emit("payment_intent.created", intent)
        if not params.get("confirm"):
            return intent
        attached = {"payment_method", "payment_method_data"}
        rest = {name: value for name, value in params.items() if name not in attached}
        return self.confirm(intent, rest)

    def update(self, intent: JsonObject, params: Parameters) -> JsonObject:
        """Change an intent; amount, currency and method only while nothing has been paid."""
        decisive = [name for name in DECISIVE if name in params]
        if decisive and intent["status"] not in OPEN:
            raise unexpected_state(
                f"This PaymentIntent's {decisive[0]} could not be updated because it has a status "
                f"of {intent['status']}. You may only update the {decisive[0]} of a PaymentIntent "
                f"with one of the following statuses: {', '.join(OPEN)}.",
                intent=copy.deepcopy(intent),
            )
        check_descriptors(params)
        account = self._store.account_of(intent)
        self._check_named(params, account=account)
        currency = check_currency(str(params.get("currency") or intent["currency"]))
        amount = check_amount(int(params.get("amount") or intent["amount"]), currency=currency)
        self._connect.check(params, account=account, amount=amount, destination=_destination(intent))
        method = self._named_method(params, account=account)
        if amount != intent["amount"] and intent["status"] == "requires_action":
            # The challenge was for the old amount.
            intent |= {"status": "requires_confirmation", "next_action": None}
        intent |= {"currency": currency, "amount": amount}
        intent["payment_method_types"] = _types(intent)
        destination = intent["transfer_data"]
        intent |= _plain(params)
        if destination and "transfer_data" in params:
            intent["transfer_data"] = destination | (params["transfer_data"] or {})
        if "metadata" in params:
            intent["metadata"] = merged_metadata(intent["metadata"], change=params["metadata"])
        if "capture_method" in params:
            intent["capture_method"] = params["capture_method"]
        if method:
            self._attach(intent, method=method)
        return intent

    def confirm(
        self, intent: JsonObject, params: Parameters, *, return_url_optional: bool = False
    ) -> JsonObject:
        """Try to pay: ends in success, an authorization, a challenge, or a decline (402)."""
        status = intent["status"]
        if status not in OPEN:
            raise unexpected_state(
                f"You cannot confirm this PaymentIntent because {NOT_CONFIRMABLE[status]}",
                intent=copy.deepcopy(intent),
            )
        if not return_url_optional:
            _check_return_url(params, automatic=intent["automatic_payment_methods"])
        method = self._named_method(params, account=self._store.account_of(intent))
        if method:
            self._attach(intent, method=method)
        if intent["payment_method"] is None:
            raise unexpected_state(NO_PAYMENT_METHOD, intent=copy.deepcopy(intent))
        if "capture_method" in params:
            intent["capture_method"] = params["capture_method"]
        intent |= _plain(params)
        return self._begin(intent, params)

    def authenticate(self, intent: JsonObject, *, succeed: bool) -> JsonObject:
        """Finish the challenge that an intent waits for, as its customer would."""
        if intent["status"] != "requires_action" or _is_voucher(intent):
            raise unexpected_state(
                "This PaymentIntent does not wait for an authentication: it has a status of "
                f"{intent['status']}.",
                intent=copy.deepcopy(intent),
            )
        intent["next_action"] = None
        if succeed:
            return self._charge(intent)
        failure = {
            "code": "payment_intent_authentication_failure",
            "message": AUTHENTICATION_FAILED,
            "type": "invalid_request_error",
        }
        self._fail(intent, failure=failure)
        return intent

    def settle(self, intent: JsonObject, *, succeed: bool) -> JsonObject:
        """Settle a `processing` intent as its bank decided, or a voucher that is paid or expires."""
        if intent["status"] != "processing" and not _is_voucher(intent):
            raise unexpected_state(
                f"This PaymentIntent is not processing: it has a status of {intent['status']}.",
                intent=copy.deepcopy(intent),
            )
        charge, method = self._latest(intent)
        card = self._methods.card_of(method)
        intent |= {"processing": None, "next_action": None}
        if succeed:
            self._succeed(intent, charge=charge, amount=intent["amount"])
            return intent
        usual = cards.VOUCHER_EXPIRED if card.kind in cards.VOUCHERS else cards.BANK_ACCOUNT_CLOSED
        decline = card.decline or usual
        charge |= {"status": "failed", "failure_code": decline.code}
        charge["failure_message"] = decline.message
        self._emit("charge.failed", charge)
        self._fail(intent, failure=_failure(decline) | {"charge": charge["id"]})
        return intent

    def capture(self, intent: JsonObject, params: Parameters) -> JsonObject:
        """Capture an authorization, all of it or a part; the rest is released without a refund."""
        amount, capturable = self._amount_to_capture(intent, params), intent["amount_capturable"]
        charge, method = self._latest(intent)
        several = method["type"] == "card" and can_capture_often(intent)
        final = params.get("final_capture", True)
        if not final and not several:
            raise InvalidParameterError(NOT_SEVERAL, param="final_capture")
        if "metadata" in params:
            intent["metadata"] = merged_metadata(intent["metadata"], change=params["metadata"])
        for item in (intent, charge):
            if "application_fee_amount" in params:
                item["application_fee_amount"] = params["application_fee_amount"]
            if "transfer_data" in params:
                item["transfer_data"] = (item["transfer_data"] or {}) | params["transfer_data"]
        if final and amount < capturable:
            self._charges.release(charge, amount=capturable - amount)
        self._charges.capture(charge, amount=amount, final=final)
        intent["amount_received"] += amount
        intent["amount_capturable"] = 0 if final else capturable - amount
        if several:
            self._emit("charge.updated", charge)
            self._emit("payment_intent.amount_capturable_updated", intent)
        if final:
            self._complete(intent, charge=charge)
        return intent

    def _amount_to_capture(self, intent: JsonObject, params: Parameters) -> int:
        """Return the amount that a capture takes, or refuse it."""
        check_descriptors(params)
        capturable: int = intent["amount_capturable"]
        amount: int = {"amount_to_capture": capturable, **params}["amount_to_capture"]
        if intent["status"] != "requires_capture":
            raise unexpected_state(
                "This PaymentIntent could not be captured because it has a status of "
                f"{intent['status']}. Only a PaymentIntent with one of the following statuses may "
                "be captured: requires_capture.",
                intent=copy.deepcopy(intent),
            )
        # Nothing more may be captured only to end what was captured in part.
        if amount < 0 or (amount == 0 and not intent["amount_received"]):
            raise too_small("amount_to_capture", value=amount)
        if amount > capturable:
            shown = format_amount(capturable, currency=intent["currency"])
            raise StripeApiError(
                "The remaining amount on this PaymentIntent that can be captured is "
                f"{shown}; the amount to capture cannot be greater than it.",
                code="amount_too_large",
                param="amount_to_capture",
            )
        check_step(amount, currency=intent["currency"], param="amount_to_capture")
        account = self._store.account_of(intent)
        self._connect.check(params, account=account, amount=amount, destination=_destination(intent))
        return amount

    def _complete(self, intent: JsonObject, *, charge: JsonObject) -> None:
        """End an authorization of which something was captured."""
        self._emit("charge.captured", charge)
        self._finish(intent, amount=intent["amount_received"])
        self._charges.tell_release(charge)

    def cancel(self, intent: JsonObject, params: Parameters) -> JsonObject:
        """Cancel an unpaid intent; an authorization is released without a refund."""
        if intent["status"] not in CANCELABLE:
            raise unexpected_state(
                "You cannot cancel this PaymentIntent because it has a status of "
                f"{intent['status']}. Only a PaymentIntent with one of the following statuses may "
                f"be canceled: {', '.join(CANCELABLE)}.",
                intent=copy.deepcopy(intent),
            )
        return self._cancel(intent, reason=params.get("cancellation_reason"))

    def expire(self, intent: JsonObject) -> JsonObject:
        """Release an authorization that nobody captured in time, as Stripe does by itself."""
        if intent["status"] != "requires_capture":
            raise unexpected_state(
                f"This PaymentIntent holds nothing: it has a status of {intent['status']}.",
                intent=copy.deepcopy(intent),
            )
        return self._cancel(intent, reason="expired")

    def _cancel(self, intent: JsonObject, *, reason: str | None) -> JsonObject:
        held = intent["amount_capturable"]
        if intent["amount_received"]:
            return self._release_rest(intent)
        intent |= {
            "status": "canceled",
            "amount_capturable": 0,
            "canceled_at": self._store.now(),
            "cancellation_reason": reason,
            "next_action": None,
        }
        charge = self._store.get(intent["latest_charge"]) if held else None
        if charge:
            self._charges.release(charge, amount=held)
        if charge and reason == "expired":
            self._emit("charge.expired", charge)
        self._emit("payment_intent.canceled", intent)
        if charge:
            self._charges.tell_release(charge)
        return intent

    def _release_rest(self, intent: JsonObject) -> JsonObject:
        """Release what several captures left; Stripe ends such an intent as succeeded."""
        charge, _ = self._latest(intent)
        self._charges.release(charge, amount=intent["amount_capturable"])
        charge["captured"] = True
        intent["amount_capturable"] = 0
        self._emit("payment_intent.amount_capturable_updated", intent)
        self._complete(intent, charge=charge)
        return intent

    def _check_named(self, params: Parameters, *, account: str | None) -> None:
        """Refuse a customer that the account doesn't have."""
        if named := params.get("customer"):
            self._store.find("customer", named, account=account, param="customer")

    def _named_method(self, params: Parameters, *, account: str | None) -> JsonObject | None:
        if typed_in := params.get("payment_method_data"):
            return self._methods.create(typed_in, account=account)
        if named := params.get("payment_method"):
            return self._methods.resolve(named, account=account)
        return None

    def _attach(self, intent: JsonObject, *, method: JsonObject) -> None:
        kind = self._methods.card_of(method).kind
        if kind not in intent["payment_method_types"]:
            raise InvalidParameterError(
                f"The PaymentMethod provided ({kind}) is not allowed for this PaymentIntent. "
                f"Please attach a PaymentMethod of one of the following types: "
                f"{', '.join(intent['payment_method_types'])}.",
                param="payment_method",
            )
        brand = method["card"]["brand"] if kind == "card" else ""
        check_method_maximum(intent["amount"], currency=intent["currency"], kind=kind, brand=brand)
        intent |= {"payment_method": method["id"], "next_action": None}
        intent["status"] = "requires_confirmation"

    def _begin(self, intent: JsonObject, params: Parameters) -> JsonObject:
        card = self._methods.card_of(self._store.get(intent["payment_method"]))
        if card.kind == "card" and intent["statement_descriptor"]:
            raise StripeApiError(NOT_FOR_CARDS, param="statement_descriptor")
        if not card.challenge:
            return self._charge(intent)
        if params.get("error_on_requires_action") or params.get("off_session"):
            return self._decline(intent, decline=cards.AUTHENTICATION_REQUIRED)
        intent["status"] = "requires_action"
        intent["next_action"] = self._challenge(intent, params)
        self._emit("payment_intent.requires_action", intent)
        return intent

    def _challenge(self, intent: JsonObject, params: Parameters) -> JsonObject:
        return_url = params.get("return_url")
        if params.get("use_stripe_sdk") or not return_url:
            sdk = {"type": "three_d_secure_redirect", "source": f"src_1{random_text(23)}"}
            return {"type": "use_stripe_sdk", "use_stripe_sdk": sdk}
        url = f"{self._challenge_url(intent['id'])}?client_secret={intent['client_secret']}"
        redirect = {"return_url": return_url, "url": url}
        return {"type": "redirect_to_url", "redirect_to_url": redirect}

    def _charge(self, intent: JsonObject) -> JsonObject:
        method = self._store.get(intent["payment_method"])
        card = self._methods.card_of(method)
        intent["last_payment_error"] = None
        if card.kind in cards.DEBITS:
            charge = self._charges.pending(intent, method=method)
            intent |= {"status": "processing", "latest_charge": charge["id"]}
            self._emit("charge.pending", charge)
            self._emit("payment_intent.processing", intent)
        elif card.kind in cards.VOUCHERS:
            charge = self._charges.pending(intent, method=method)
            intent |= {"status": "requires_action", "latest_charge": charge["id"]}
            intent["next_action"] = self._voucher(card.kind)
            self._emit("charge.pending", charge)
            self._emit("payment_intent.requires_action", intent)
        elif card.decline:
            self._decline(intent, decline=card.decline)
        else:
            self._authorize(intent, method=method)
        return intent

    def _voucher(self, kind: str) -> JsonObject:
        """Return what the customer is shown to pay with at a shop or bank."""
        until = self._store.now() + VOUCHER_SECONDS
        url = f"https://payments.stripe.com/{kind}/voucher/{random_text(24)}"
        number = "".join(random.choices(string.digits, k=14))  # noqa: S311
        shown = {
            "boleto": {"expires_at": until, "hosted_voucher_url": url, "number": number, "pdf": f"{url}/pdf"},
            "multibanco": {
                "entity": number[:5],
                "expires_at": until,
                "hosted_voucher_url": url,
                "reference": number[5:],
            },
            "oxxo": {"expires_after": until, "hosted_voucher_url": url, "number": number},
        }
        return {"type": f"{kind}_display_details", f"{kind}_display_details": shown[kind]}

    def _decline(self, intent: JsonObject, *, decline: Decline) -> JsonObject:
        method = self._store.get(intent["payment_method"])
        charge = self._charges.declined(intent, method=method, decline=decline)
        intent["latest_charge"] = charge["id"]
        self._emit("charge.failed", charge)
        failure = _failure(decline) | {"charge": charge["id"]}
        self._fail(intent, failure=failure)
        details = {**failure, "payment_method": copy.deepcopy(method)}
        raise StripeApiError(
            details.pop("message"),
            status=402,
            kind=details.pop("type"),
            payment_intent=copy.deepcopy(intent),
            **details,
        )

    def _fail(self, intent: JsonObject, *, failure: JsonObject) -> None:
        method = copy.deepcopy(self._store.get(intent["payment_method"]))
        doc_url = f"https://stripe.com/docs/error-codes/{failure['code'].replace('_', '-')}"
        intent["last_payment_error"] = {**failure, "doc_url": doc_url, "payment_method": method}
        intent |= {"status": "requires_payment_method", "payment_method": None}
        self._emit("payment_intent.payment_failed", intent)

    def _authorize(self, intent: JsonObject, *, method: JsonObject) -> None:
        charge = self._charges.authorized(intent, method=method)
        intent["latest_charge"] = charge["id"]
        if intent["capture_method"] == "manual":
            self._charges.hold(charge)
            intent |= {"status": "requires_capture", "amount_capturable": intent["amount"]}
            self._emit("charge.succeeded", charge)
            self._emit("payment_intent.amount_capturable_updated", intent)
            return
        self._succeed(intent, charge=charge, amount=intent["amount"])

    def _succeed(self, intent: JsonObject, *, charge: JsonObject, amount: int) -> None:
        asynchronous = intent["capture_method"] == "automatic_async"
        self._charges.capture(charge, amount=amount, settled=not asynchronous)
        self._emit("charge.succeeded", charge)
        self._finish(intent, amount=amount)
        if asynchronous and not self._charges.books_late(charge):
            self._charges.book_late(charge)

    def _finish(self, intent: JsonObject, *, amount: int) -> None:
        intent |= {"status": "succeeded", "amount_received": amount, "amount_capturable": 0}
        self._emit("payment_intent.succeeded", intent)

    def _latest(self, intent: JsonObject) -> tuple[JsonObject, JsonObject]:
        return self._store.get(intent["latest_charge"]), self._store.get(intent["payment_method"])


def _is_voucher(intent: JsonObject) -> bool:
    """Return whether an intent waits for a voucher to be paid, and not for an authentication."""
    kind: str = (intent["next_action"] or {"type": ""})["type"]
    return intent["status"] == "requires_action" and kind.endswith("_display_details")


def _destination(intent: JsonObject) -> str | None:
    destination: str | None = (intent["transfer_data"] or {}).get("destination")
    return destination


def _failure(decline: Decline) -> JsonObject:
    failure = {"code": decline.code, "message": decline.message, "type": "card_error"}
    if decline.decline_code:
        failure["decline_code"] = decline.decline_code
    return failure


def _check_confirmation_only(params: Parameters) -> None:
    if params.get("confirm"):
        return
    for name in ("return_url", "off_session", "error_on_requires_action"):
        if name in params:
            raise InvalidParameterError(f"`{name}` can only be set when `confirm` is true.", param=name)


def _check_return_url(params: Parameters, *, automatic: JsonObject | None) -> None:
    redirects = automatic is not None and automatic["allow_redirects"] != "never"
    if redirects and not params.get("return_url"):
        raise StripeApiError(NO_RETURN_URL, saved=False)


def _automatic(params: Parameters) -> JsonObject | None:
    given = params.get("automatic_payment_methods") or {"enabled": True}
    details: dict[str, Any] = {"allow_redirects": "always"} | given
    return details if details["enabled"] else None


def _plain(params: Parameters) -> JsonObject:
    given = {name: params[name] or None for name in PLAIN_FIELDS if name in params}
    if shipping := given.get("shipping"):
        missing = dict.fromkeys(("carrier", "phone", "tracking_number"))
        given["shipping"] = missing | shipping | {"address": NO_ADDRESS | shipping["address"]}
    return given


def _blank_intent(params: Parameters) -> JsonObject:
    empty = (
        "application canceled_at cancellation_reason customer "
        "customer_account last_payment_error latest_charge managed_payments next_action "
        "payment_method payment_record processing review source"
    )
    return {
        **dict.fromkeys(empty.split()),
        **dict.fromkeys(PLAIN_FIELDS),
        **_plain(params),
        "allowed_payment_method_types": params.get("allowed_payment_method_types"),
        "amount": params["amount"],
        "amount_capturable": 0,
        "amount_details": {"tip": {}},
        "amount_received": 0,
        "automatic_payment_methods": _automatic(params),
        "capture_method": params.get("capture_method", "automatic_async"),
        "client_secret": None,
        "confirmation_method": params.get("confirmation_method", "automatic"),
        "currency": params["currency"],
        "customer": params.get("customer"),
        "excluded_payment_method_types": params.get("excluded_payment_method_types") or None,
        "metadata": merged_metadata({}, change=params.get("metadata") or {}),
        "payment_method_configuration_details": CONFIGURATION if _automatic(params) else None,
        "payment_method_options": _options(params),
        "payment_method_types": _types(params),
        "status": "requires_payment_method",
    }


def _options(params: Parameters) -> JsonObject:
    given = params.get("payment_method_options") or {}
    return {kind: OPTIONS[kind] | (given.get(kind) or {}) for kind in _types(params)}


def _types(params: Parameters) -> list[str]:
    """Return the methods that can pay: cards and US debits by default, others where they are named."""
    currencies = cards.DEBITS | cards.VOUCHERS
    suitable = ["card", *(kind for kind, currency in currencies.items() if currency == params["currency"])]
    allowed = params.get("allowed_payment_method_types") or ["card", "us_bank_account"]
    excluded = params.get("excluded_payment_method_types") or []
    return [kind for kind in suitable if kind in allowed and kind not in excluded]
