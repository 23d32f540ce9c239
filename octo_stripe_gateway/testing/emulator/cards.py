"""Stripe's published test payment methods and card numbers (https://docs.stripe.com/testing)."""

from __future__ import annotations

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decline:
    """Says how an attempt to charge is refused."""

    code: str = "card_declined"
    decline_code: str | None = None
    message: str = "Your card was declined."
    network_code: str = "01"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Card:
    """Describes how a test payment method behaves."""

    payment_method: str
    number: str
    brand: str = "visa"
    funding: str = "credit"
    kind: str = "card"
    decline: Decline | None = None
    challenge: bool = False
    refund: str = "succeeds"
    dispute: str | None = None
    inquiry: bool = False
    disputes: int = 1
    fraud_warning: bool = False
    risk: Literal["normal", "elevated", "highest"] = "normal"
    available_at_once: bool = False
    books_late: bool = False
    stays_processing: bool = False
    country: str = "US"
    does: str = "Succeeds"

    @property
    def last4(self) -> str:
        return self.number[-4:]

    @property
    def display_brand(self) -> str:
        return DISPLAY_BRANDS.get(self.brand, self.brand)


DISPLAY_BRANDS = {"amex": "american_express", "diners": "diners_club", "unionpay": "union_pay"}
GENERIC_DECLINE = Decline(decline_code="generic_decline")
INSUFFICIENT_FUNDS = Decline(decline_code="insufficient_funds", message="Your card has insufficient funds.")
AUTHENTICATION_REQUIRED = Decline(
    code="authentication_required",
    decline_code="authentication_required",
    message="Your card was declined. This transaction requires authentication.",
)
NOT_A_TEST_CARD = Decline(
    decline_code="test_mode_live_card",
    message=(
        "Your card was declined. Your request was in test mode, but used a non test (live) card. "
        "For a list of valid test cards, visit: https://stripe.com/docs/testing."
    ),
)
EXPIRED = Decline(code="expired_card", message="Your card has expired.")
INCORRECT_CVC = Decline(code="incorrect_cvc", message="Your card's security code is incorrect.")
PROCESSING_ERROR = Decline(
    code="processing_error",
    message="An error occurred while processing your card. Try again in a little bit.",
)
BLOCKED = Decline(decline_code="fraudulent")
VOUCHER_EXPIRED = Decline(
    code="payment_intent_payment_attempt_expired",
    message=(
        "The latest attempt to make the payment has expired. You can provide payment_method_data or a new "
        "PaymentMethod to attempt to fulfill this PaymentIntent again."
    ),
)
NO_BANK_ACCOUNT = Decline(
    code="payment_method_provider_decline",
    message="The customer's bank account could not be found.",
)
NO_FUNDS = Decline(
    code="payment_method_provider_decline",
    message="The customer's account has insufficient funds to cover this payment.",
)
BANK_ACCOUNT_CLOSED = Decline(
    code="payment_method_provider_decline",
    message="The customer's bank account has been closed.",
)

# Payment methods other than cards, with the currency that they are in. They take days.
DEBITS = {"us_bank_account": "usd", "sepa_debit": "eur"}
VOUCHERS = {"oxxo": "mxn", "boleto": "brl", "multibanco": "eur"}

CARDS = (
    Card(payment_method="pm_card_visa", number="4242424242424242"),
    Card(payment_method="pm_card_visa_debit", number="4000056655665556", funding="debit"),
    Card(payment_method="pm_card_mastercard", number="5555555555554444", brand="mastercard"),
    Card(payment_method="pm_card_mastercard", number="2223003122003222", brand="mastercard"),
    Card(
        payment_method="pm_card_mastercard_debit",
        number="5200828282828210",
        brand="mastercard",
        funding="debit",
    ),
    Card(
        payment_method="pm_card_mastercard_prepaid",
        number="5105105105105100",
        brand="mastercard",
        funding="prepaid",
    ),
    Card(payment_method="pm_card_amex", number="378282246310005", brand="amex"),
    Card(payment_method="pm_card_amex", number="371449635398431", brand="amex"),
    Card(payment_method="pm_card_discover", number="6011111111111117", brand="discover"),
    Card(payment_method="pm_card_discover", number="6011000990139424", brand="discover"),
    Card(payment_method="pm_card_diners", number="3056930009020004", brand="diners"),
    Card(payment_method="pm_card_diners", number="36227206271667", brand="diners"),
    Card(payment_method="pm_card_jcb", number="3566002020360505", brand="jcb", country="JP"),
    Card(payment_method="pm_card_unionpay", number="6200000000000005", brand="unionpay", country="CN"),
    Card(payment_method="pm_card_unionpay", number="6205500000000000004", brand="unionpay", country="CN"),
    Card(
        payment_method="pm_card_visa_chargeDeclined",
        number="4000000000000002",
        decline=GENERIC_DECLINE,
        does="Is declined",
    ),
    Card(
        payment_method="pm_card_visa_chargeDeclinedInsufficientFunds",
        number="4000000000009995",
        decline=INSUFFICIENT_FUNDS,
        does="Is declined: insufficient funds",
    ),
    Card(
        payment_method="pm_card_visa_chargeDeclinedLostCard",
        number="4000000000009987",
        decline=Decline(decline_code="lost_card"),
        does="Is declined: lost card",
    ),
    Card(
        payment_method="pm_card_visa_chargeDeclinedStolenCard",
        number="4000000000009979",
        decline=Decline(decline_code="stolen_card"),
        does="Is declined: stolen card",
    ),
    Card(
        payment_method="pm_card_chargeDeclinedExpiredCard",
        number="4000000000000069",
        decline=EXPIRED,
        does="Is declined: expired",
    ),
    Card(
        payment_method="pm_card_chargeDeclinedIncorrectCvc",
        number="4000000000000127",
        decline=INCORRECT_CVC,
        does="Is declined: incorrect CVC",
    ),
    Card(
        payment_method="pm_card_chargeDeclinedProcessingError",
        number="4000000000000119",
        decline=PROCESSING_ERROR,
        does="Is declined: processing error",
    ),
    Card(
        payment_method="pm_card_visa_chargeDeclinedVelocityLimitExceeded",
        number="4000000000006975",
        decline=Decline(decline_code="card_velocity_exceeded"),
        does="Is declined: too many payments",
    ),
    Card(
        payment_method="pm_card_chargeCustomerFail",
        number="4000000000000341",
        decline=GENERIC_DECLINE,
        does="Is declined",
    ),
    Card(
        payment_method="pm_card_authenticationRequired",
        number="4000002760003184",
        challenge=True,
        country="DE",
        does="Asks for authentication, then succeeds",
    ),
    Card(
        payment_method="pm_card_authenticationRequiredOnSetup",
        number="4000002500003155",
        challenge=True,
        country="FR",
        does="Asks for authentication, then succeeds",
    ),
    Card(
        payment_method="pm_card_authenticationRequiredChargeDeclinedInsufficientFunds",
        number="4000008260003178",
        challenge=True,
        decline=INSUFFICIENT_FUNDS,
        does="Asks for authentication, then is declined",
    ),
    Card(
        payment_method="pm_card_threeDSecure2Required",
        number="4000000000003220",
        challenge=True,
        does="Asks for authentication (3D Secure 2), then succeeds",
    ),
    Card(
        payment_method="pm_card_threeDSecureRequired",
        number="4000000000003063",
        challenge=True,
        does="Asks for authentication (3D Secure), then succeeds",
    ),
    Card(
        payment_method="pm_card_threeDSecureRequiredChargeDeclined",
        number="4000008400001629",
        challenge=True,
        decline=GENERIC_DECLINE,
        does="Asks for authentication, then is declined",
    ),
    Card(
        payment_method="pm_card_pendingRefund",
        number="4000000000007726",
        refund="pends",
        does="Succeeds; its refunds start pending",
    ),
    Card(
        payment_method="pm_card_refundFail",
        number="4000000000005126",
        refund="fails",
        does="Succeeds; its refunds succeed, then fail",
    ),
    Card(
        payment_method="pm_card_emulator_refundAsks",  # the emulator's own: at Stripe, vouchers do so
        number="4000000000000929",
        refund="asks",
        does="Succeeds; its refunds require action by the customer",
    ),
    Card(
        payment_method="pm_card_createDispute",
        number="4000000000000259",
        dispute="fraudulent",
        does="Succeeds, then is disputed as fraudulent",
    ),
    Card(
        payment_method="pm_card_createDisputeProductNotReceived",
        number="4000000000002685",
        dispute="product_not_received",
        does="Succeeds, then is disputed as not received",
    ),
    Card(
        payment_method="pm_card_createDisputeInquiry",
        number="4000000000001976",
        dispute="fraudulent",
        inquiry=True,
        does="Succeeds, then is inquired about",
    ),
    Card(
        payment_method="pm_card_createMultipleDisputes",
        number="4000000404000079",
        dispute="fraudulent",
        disputes=2,
        does="Succeeds, then is disputed twice",
    ),
    Card(
        payment_method="pm_card_createIssuerFraudRecord",
        number="4000000000005423",
        fraud_warning=True,
        does="Succeeds, then gets an early fraud warning",
    ),
    Card(
        payment_method="pm_card_radarBlock",
        number="4100000000000019",
        decline=BLOCKED,
        risk="highest",
        does="Is blocked by Radar",
    ),
    Card(
        payment_method="pm_card_riskLevelHighest",
        number="4000000000004954",
        decline=BLOCKED,
        risk="highest",
        does="Is blocked by Radar's rules: highest risk",
    ),
    Card(
        payment_method="pm_card_riskLevelElevated",
        number="4000000000009235",
        risk="elevated",
        does="Succeeds with an elevated risk",
    ),
    Card(
        payment_method="pm_card_bypassPending",
        number="4000000000000077",
        available_at_once=True,
        does="Succeeds; its money is available at once",
    ),
    Card(
        payment_method="pm_card_bypassPendingInternational",
        number="4000003720000278",
        available_at_once=True,
        country="IE",
        does="Succeeds; its money is available at once",
    ),
    Card(
        payment_method="pm_card_emulator_booksLate",  # the emulator's own: at Stripe other methods book late
        number="4000000000000911",
        books_late=True,
        does="Succeeds; its balance transaction comes later",
    ),
    Card(
        payment_method="pm_usBankAccount_success",
        number="000123456789",
        kind="us_bank_account",
        does="Goes to processing, then succeeds",
    ),
    Card(
        payment_method="pm_usBankAccount_accountClosed",
        number="000111111113",
        kind="us_bank_account",
        decline=BANK_ACCOUNT_CLOSED,
        does="Goes to processing, then fails",
    ),
    Card(
        payment_method="pm_usBankAccount_noAccount",
        number="000111111116",
        kind="us_bank_account",
        decline=NO_BANK_ACCOUNT,
        does="Goes to processing, then fails",
    ),
    Card(
        payment_method="pm_usBankAccount_insufficientFunds",
        number="000222222227",
        kind="us_bank_account",
        decline=NO_FUNDS,
        does="Goes to processing, then fails",
    ),
    Card(
        payment_method="pm_usBankAccount_processing",
        number="000000000009",
        kind="us_bank_account",
        stays_processing=True,
        does="Goes to processing and stays there",
    ),
    # From here on, the names are the emulator's own.
    Card(
        payment_method="pm_emulator_sepaDebit",
        number="AT321904300235473204",
        kind="sepa_debit",
        country="AT",
        does="Goes to processing, then succeeds",
    ),
    Card(
        payment_method="pm_emulator_sepaDebit_fails",
        number="AT861904300235473202",
        kind="sepa_debit",
        country="AT",
        decline=NO_FUNDS,
        does="Goes to processing, then fails",
    ),
    *(
        Card(
            payment_method=f"pm_emulator_{kind}{ending}",
            number=f"{kind}{ending}",
            kind=kind,
            decline=decline,
            refund="asks",
            does=f"Shows a voucher, which then {'expires' if decline else 'is paid'}",
        )
        for kind in VOUCHERS
        for ending, decline in (("", None), ("_expires", VOUCHER_EXPIRED))
    ),
)
ALIASES = {
    "pm_card_chargeDeclinedFraudulent": "pm_card_radarBlock",
    "pm_card_chargeDeclined": "pm_card_visa_chargeDeclined",
    "pm_card_chargeDeclinedInsufficientFunds": "pm_card_visa_chargeDeclinedInsufficientFunds",
    "pm_usBankAccount": "pm_usBankAccount_success",
}
# Where several cards share a name, it means the first.
BY_TOKEN = {card.payment_method: card for card in reversed(CARDS)}
BY_TOKEN |= {alias: BY_TOKEN[token] for alias, token in ALIASES.items()}
BY_NUMBER = {card.number: card for card in CARDS}
SUCCEEDING = {
    kind: next(card for card in CARDS if card.kind == kind and not card.decline)
    for kind in (*DEBITS, *VOUCHERS)
}


def card_for_number(number: str) -> Card:
    """Return the test card of that number; any other number is declined as a live card would be."""
    unknown = Card(payment_method="", number=number, decline=NOT_A_TEST_CARD, does="Is declined")
    return BY_NUMBER.get(number, unknown)


def is_card_number(number: str) -> bool:
    """Return whether the digits have a card's length and check digit."""
    if not (number.isdigit() and 12 <= len(number) <= 19):
        return False
    doubled = [int(digit) * 2 for digit in number[-2::-2]]
    plain = [int(digit) for digit in number[-1::-2]]
    return sum(plain + [value - 9 if value > 9 else value for value in doubled]) % 10 == 0
