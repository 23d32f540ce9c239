"""Early fraud warnings: an issuer's suspicion of a charge before there is a dispute."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from octo_stripe_gateway.testing.emulator.events import Emit
    from octo_stripe_gateway.testing.emulator.store import JsonObject, Store

KIND = "radar.early_fraud_warning"


class FraudWarnings:
    """Creates warnings about charges; a refund or a dispute makes them no longer actionable."""

    def __init__(self, store: Store, *, emit: Emit) -> None:
        self._store = store
        self._emit = emit

    def warn(self, charge: JsonObject, *, fraud_type: str) -> JsonObject:
        """Report that the issuer thinks a charge fraudulent."""
        warning = self._store.new(
            KIND,
            account=self._store.account_of(charge),
            actionable=not (charge["refunded"] or charge["disputed"]),
            charge=charge["id"],
            fraud_type=fraud_type,
            payment_intent=charge["payment_intent"],
        )
        self._emit("radar.early_fraud_warning.created", warning)
        return warning

    def review(self, charge_id: str) -> None:
        """Mark a charge's warnings as no longer actionable once it is refunded or disputed."""
        charge = self._store.get(charge_id)
        for warning in self._store.each(KIND, charge=charge_id, actionable=True):
            if charge["refunded"] or charge["disputed"]:
                warning["actionable"] = False
                self._emit("radar.early_fraud_warning.updated", warning)
