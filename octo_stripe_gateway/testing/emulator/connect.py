"""Connect: application fees, transfers to connected accounts, and what refunds take back of both.

Direct and destination charges as https://docs.stripe.com/connect/direct-charges and
https://docs.stripe.com/connect/destination-charges describe them.
"""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING

from octo_stripe_gateway.testing.emulator.balance import APPLICATION
from octo_stripe_gateway.testing.emulator.errors import InvalidParameterError, StripeApiError, no_such
from octo_stripe_gateway.testing.emulator.params import merged_metadata

if TYPE_CHECKING:
    from octo_stripe_gateway.testing.emulator.accounts import Accounts
    from octo_stripe_gateway.testing.emulator.balance import Balance
    from octo_stripe_gateway.testing.emulator.events import Emit
    from octo_stripe_gateway.testing.emulator.params import Parameters
    from octo_stripe_gateway.testing.emulator.store import JsonObject, Store

NOT_CONNECTED = (
    "Can only apply an application_fee_amount when the PaymentIntent is attempting a direct payment (using "
    "an OAuth key or Stripe-Account header) or destination payment (using `transfer_data[destination]`)."
)
NO_BALANCE = (
    "The account {} does not have a sufficient balance available to reverse this transfer. Use an amount "
    "less than or equal to its available balance."
)


class Connect:
    """Shares a charge's money between a platform and its connected accounts."""

    def __init__(self, store: Store, *, accounts: Accounts, emit: Emit, balance: Balance) -> None:
        self._store = store
        self._accounts = accounts
        self._emit = emit
        self._balance = balance
        # Connected accounts without balance: nothing of theirs can be refunded or reversed.
        self.drained: set[str] = set()

    def dump(self) -> str:
        """Return the accounts without balance, as JSON."""
        return json.dumps({"drained": sorted(self.drained)})

    def load(self, dumped: JsonObject) -> None:
        """Take in what was dumped."""
        self.drained = set(dumped["drained"])

    def check(self, params: Parameters, *, account: str | None, amount: int, destination: str | None) -> None:
        """Refuse a PaymentIntent's fee, transfer or account that Stripe would refuse."""
        transfer = params.get("transfer_data") or {}
        if named := params.get("on_behalf_of"):
            self._check_connected(named, to=account, kind="account", param="on_behalf_of")
        if named := transfer.get("destination"):
            self._check_connected(named, to=account, kind="destination", param="transfer_data[destination]")
        destination = destination or transfer.get("destination")
        fee = params.get("application_fee_amount")
        if fee and not (destination or self._accounts.is_connected(account)):
            raise InvalidParameterError(NOT_CONNECTED, param="application_fee_amount")
        check_share("application_fee_amount", fee, of=amount)
        check_share("transfer_data[amount]", transfer.get("amount"), of=amount)

    def _check_connected(self, account: str, *, to: str | None, kind: str, param: str) -> None:
        if not self._accounts.is_connected(account) or self._accounts.platform_of(account) != to:
            raise no_such(kind, account, param=param, status=400)

    def application_of(self, account: str | None) -> str | None:
        """Return the application that charges on an account: its platform's, if it is connected."""
        return APPLICATION if self._accounts.is_connected(account) else None

    def direct_fee(self, charge: JsonObject, *, amount: int) -> int:
        """Return what the platform takes of a direct charge's capture: of all captures at most its fee."""
        return 0 if _destination(charge) else self._fee_left(charge, amount=amount)

    def share(self, charge: JsonObject, *, amount: int) -> None:
        """Make the transfer and take the application fee of a capture that was booked."""
        fee = self._fee_left(charge, amount=amount)
        destination = _destination(charge)
        if destination:
            given = charge["transfer_data"].get("amount")
            passed_on = amount if given is None else min(amount, given)
            transfer = self._move(
                charge,
                amount=self._balance.convert(passed_on, currency=charge["currency"]),
                currency=self._balance.arrives_in(charge["currency"]),
                destination=destination,
                fee=self._balance.convert(fee, currency=charge["currency"]),
                fields={"source_transaction": charge["id"], "transfer_group": _group(charge)},
            )
            charge |= {"transfer": charge.get("transfer") or transfer["id"], "transfer_group": _group(charge)}
        elif fee:
            platform = self._accounts.platform_of(self._store.account_of(charge))
            self._collect(charge, charge=charge, fee=fee, platform=platform)

    def transfer(self, params: Parameters, *, account: str | None) -> JsonObject:
        """Move money of the platform to a connected account, as for separate charges and transfers."""
        self._check_connected(params["destination"], to=account, kind="destination", param="destination")
        source = params.get("source_transaction")
        charge = (
            self._store.find("charge", source, account=account, param="source_transaction")
            if source
            else None
        )
        amount = params.get("amount") or (charge or {}).get("amount_captured", 0)
        currency = params["currency"].lower()
        if not charge and amount > self._balance.of(account).get(currency, 0):
            raise StripeApiError(
                "You have insufficient available funds in your Stripe account.", code="balance_insufficient"
            )
        group = params.get("transfer_group") or (_group(charge) if charge else None)
        fields = {
            "source_transaction": source,
            "transfer_group": group,
            "description": params.get("description"),
            "metadata": merged_metadata({}, change=params.get("metadata") or {}),
        }
        return self._move(
            None,
            amount=amount,
            currency=currency,
            destination=params["destination"],
            fields=fields,
            account=account,
        )

    def reverse(
        self, transfer: JsonObject, params: Parameters, *, refund: JsonObject | None = None
    ) -> JsonObject:
        """Take a transfer back, all of it or a part."""
        left = transfer["amount"] - transfer["amount_reversed"]
        amount = params.get("amount", left)
        if amount > left or not left:
            raise StripeApiError(
                f"Transfer {transfer['id']} can't be reversed by {amount}: {left} of it is left.",
                param="amount",
            )
        self.check_balance(transfer["destination"])
        payment = self._store.get(transfer["destination_payment"])
        returned = self._store.new(
            "refund",
            account=transfer["destination"],
            prefix="pyr_1",
            **_returned(payment, amount=amount),
        )
        returned["balance_transaction"] = self._balance.book(
            returned, amount=-amount, kind="payment_refund", description="REFUND FOR PAYMENT"
        )["id"]
        payment["amount_refunded"] += amount
        payment["refunded"] = payment["amount_refunded"] == payment["amount"]
        made = self._store.new(
            "transfer_reversal",
            account=self._store.account_of(transfer),
            amount=amount,
            currency=transfer["currency"],
            destination_payment_refund=returned["id"],
            metadata=merged_metadata({}, change=params.get("metadata") or {}),
            source_refund=refund["id"] if refund else None,
            transfer=transfer["id"],
        )
        returned["source_transfer_reversal"] = made["id"]
        made["balance_transaction"] = self._balance.book(
            made, amount=amount, kind="transfer_refund", category="transfer_reversal"
        )["id"]
        transfer["amount_reversed"] += amount
        transfer["reversed"] = transfer["amount_reversed"] == transfer["amount"]
        transfer["reversals"]["data"].insert(0, copy.deepcopy(made))
        self._emit("transfer.reversed", transfer)
        return made

    def refund_fee(self, fee: JsonObject, params: Parameters, *, with_refund: bool = False) -> JsonObject:
        """Give an application fee back, all of it or a part.

        With a refund of a direct charge, the refund's own balance transaction carries it.
        """
        left = fee["amount"] - fee["amount_refunded"]
        amount = params.get("amount", left)
        if amount > left or not left:
            raise StripeApiError(
                f"Application fee {fee['id']} can't be refunded by {amount}: {left} of it is left.",
                param="amount",
            )
        made = self._store.new(
            "fee_refund",
            account=self._store.account_of(fee),
            amount=amount,
            currency=fee["currency"],
            fee=fee["id"],
            metadata=merged_metadata({}, change=params.get("metadata") or {}),
        )
        made["balance_transaction"] = self._balance.book(made, amount=-amount, kind="application_fee_refund")[
            "id"
        ]
        if not with_refund:
            self._balance.book(made, amount=amount, kind="application_fee_refund", account=fee["account"])
        fee["amount_refunded"] += amount
        fee["refunded"] = fee["amount_refunded"] == fee["amount"]
        fee["refunds"]["data"].insert(0, copy.deepcopy(made))
        self._emit("application_fee.refunded", fee)
        return made

    def check_refund(self, charge: JsonObject, params: Parameters, *, amount: int) -> None:
        """Refuse a refund that names a fee or a transfer that its charge has not, or can't take back."""
        if params.get("refund_application_fee") and not charge["application_fee"]:
            raise StripeApiError(
                f"Attempting to refund_application_fee on {charge['id']}, but it has no application fee",
                param="refund_application_fee",
            )
        if not params.get("reverse_transfer"):
            return
        if not charge.get("transfer"):
            raise StripeApiError(
                f"Cannot reverse transfer on charge {charge['id']} because it does not have an associated "
                "transfer.",
                param="reverse_transfer",
            )
        if _part(self._store.get(charge["transfer"]), of=charge, amount=amount, done="amount_reversed"):
            self.check_balance(_destination(charge) or "")

    def check_balance(self, account: str) -> None:
        """Refuse to take money back from an account that has none."""
        if account in self.drained:
            raise StripeApiError(NO_BALANCE.format(account), code="balance_insufficient")

    def fee_part(self, charge: JsonObject, *, amount: int) -> int:
        """Return what a refund gives back of the application fee: as much as it is of the charge."""
        fee = self._store.get(charge["application_fee"])
        return _part(fee, of=charge, amount=amount, done="amount_refunded")

    def take_back(self, refund: JsonObject, params: Parameters, *, charge: JsonObject) -> None:
        """Reverse the transfer and return the fee in proportion, as a refund asks."""
        amount = refund["amount"]
        if params.get("refund_application_fee") and (part := self.fee_part(charge, amount=amount)):
            fee = self._store.get(charge["application_fee"])
            self.refund_fee(fee, {"amount": part}, with_refund=not charge.get("transfer"))
        if params.get("reverse_transfer"):
            transfer = self._store.get(charge["transfer"])
            if part := _part(transfer, of=charge, amount=amount, done="amount_reversed"):
                reversal = self.reverse(transfer, {"amount": part}, refund=refund)
                refund["transfer_reversal"] = reversal["id"]

    def _fee_left(self, charge: JsonObject, *, amount: int) -> int:
        if not charge["application_fee_amount"]:
            return 0
        taken = sum(
            fee["amount"]
            for fee in self._store.each("application_fee")
            if charge["id"] in (fee["charge"], fee["originating_transaction"])
        )
        return int(max(0, min(amount, charge["application_fee_amount"] - taken)))

    def _move(
        self,
        charge: JsonObject | None,
        *,
        amount: int,
        currency: str,
        destination: str,
        fields: JsonObject,
        fee: int = 0,
        account: str | None = None,
    ) -> JsonObject:
        """Make a transfer and the payment that it becomes on the connected account."""
        platform = self._store.account_of(charge) if charge else account
        url = "/v1/transfers/{}/reversals"
        transfer = self._store.new(
            "transfer",
            account=platform,
            **{
                "amount": amount,
                "amount_reversed": 0,
                "currency": currency,
                "description": None,
                "destination": destination,
                "metadata": {},
                "reversed": False,
                "source_type": "card",
                **fields,
            },
        )
        transfer["reversals"] = _empty_list(url.format(transfer["id"]))
        payment = self._store.new(
            "charge", account=destination, prefix="py_1", **_destination_payment(transfer, fee=fee)
        )
        transfer["destination_payment"] = payment["id"]
        transfer["balance_transaction"] = self._balance.book(transfer, amount=-amount, kind="transfer")["id"]
        payment["balance_transaction"] = self._balance.book(
            payment, amount=amount, kind="payment", application_fee=fee
        )["id"]
        self._emit("transfer.created", transfer)
        if fee and charge:
            self._collect(payment, charge=charge, fee=fee, platform=platform)
        return transfer

    def _collect(self, payment: JsonObject, *, charge: JsonObject, fee: int, platform: str | None) -> None:
        """Take a fee from the payment of a connected account."""
        made = self._store.new(
            "application_fee",
            account=platform,
            amount=fee,
            amount_refunded=0,
            application=APPLICATION,
            charge=payment["id"],
            currency=payment["currency"],
            fee_source={"type": "charge", "charge": payment["id"]},
            originating_transaction=None if payment is charge else charge["id"],
            refunded=False,
        )
        made["account"] = self._store.account_of(payment)
        made["refunds"] = _empty_list(f"/v1/application_fees/{made['id']}/refunds")
        booked = self._balance.book(made, amount=fee, kind="application_fee")
        made["balance_transaction"] = booked["id"]
        for item in (payment, charge):
            item["application_fee"] = item["application_fee"] or made["id"]
        self._emit("application_fee.created", made)


def check_share(name: str, share: int | None, *, of: int) -> None:
    """Refuse a fee or a transfer above the amount that it is taken from."""
    if share and share > of:
        raise InvalidParameterError(f"{name} must be at most the amount of the payment: {of}.", param=name)


def _destination(charge: JsonObject) -> str | None:
    destination: str | None = (charge["transfer_data"] or {}).get("destination")
    return destination


def _group(charge: JsonObject) -> str:
    return charge["transfer_group"] or f"group_{charge['payment_intent'] or charge['id']}"


def _part(item: JsonObject, *, of: JsonObject, amount: int, done: str) -> int:
    """Return the part of a transfer or fee that a refund of this amount takes back."""
    share = (2 * item["amount"] * amount + of["amount_captured"]) // (2 * of["amount_captured"])
    return int(min(share, item["amount"] - item[done]))


def _empty_list(url: str) -> JsonObject:
    return {"object": "list", "data": [], "has_more": False, "url": url}


def _destination_payment(transfer: JsonObject, *, fee: int) -> JsonObject:
    empty = (
        "application_fee calculated_statement_descriptor customer description failure_balance_transaction "
        "failure_code failure_message on_behalf_of outcome payment_intent payment_method receipt_email "
        "receipt_number receipt_url review shipping source statement_descriptor statement_descriptor_suffix "
        "transfer transfer_data transfer_group"
    )
    return {
        **dict.fromkeys(empty.split()),
        "amount": transfer["amount"],
        "amount_captured": transfer["amount"],
        "amount_refunded": 0,
        "application": APPLICATION,
        "application_fee_amount": fee or None,
        "billing_details": {"email": None, "name": None, "phone": None, "tax_id": None, "address": None},
        "captured": True,
        "currency": transfer["currency"],
        "disputed": False,
        "fraud_details": {},
        "metadata": {},
        "paid": True,
        "payment_method_details": {"type": "stripe_account", "stripe_account": {}},
        "radar_options": {},
        "refunded": False,
        "source_transfer": transfer["id"],
        "status": "succeeded",
    }


def _returned(payment: JsonObject, *, amount: int) -> JsonObject:
    return {
        "amount": amount,
        "charge": payment["id"],
        "currency": payment["currency"],
        "customer": None,
        "destination_details": {"type": "stripe_account"},
        "metadata": {},
        "payment_intent": None,
        "payment_method": None,
        "reason": None,
        "receipt_number": None,
        "status": "succeeded",
        "transfer_reversal": None,
    }
