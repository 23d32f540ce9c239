"""How the table of payments is searched, and what holds in each of its rows."""

from __future__ import annotations

from django.db import models

REJECTED_WITH_MONEY_HELD = ~models.Q(rejection_code="") & (
    models.Q(amount_capturable__gt=0)
    | models.Q(amount_received__gt=models.F("amount_refunded") + models.F("amount_lost"))
)
# A payable may have any number of payments that were given up; none of them counts for anything.
COUNTS = models.Q(amount_received__gt=0) | ~models.Q(status__in=["canceled", "expired"])

INDEXES = [
    # Each ends with what lists are ordered by, moment, id or both: see `api.lists`.
    models.Index(fields=["payable_type", "payable_id", "created_at", "id"], name="octo_payment_payable"),
    models.Index(
        fields=["payable_type", "payable_id"],
        condition=models.Q(payable_type__isnull=False) & COUNTS,
        name="octo_payment_counted",
    ),
    models.Index(fields=["created_at", "id"], name="octo_payment_created"),
    models.Index(
        fields=["stripe_account"],
        condition=~models.Q(stripe_account=""),
        name="octo_payment_connected",
    ),
    models.Index(fields=["status", "id"], name="octo_payment_status"),
    models.Index(fields=["status", "created_at", "id"], name="octo_payment_status_created"),
    models.Index(fields=["currency", "id"], name="octo_payment_currency"),
    # Only the rare rows are searched for with the rest, so all other writes pay nothing.
    models.Index(fields=["owner", "id"], condition=~models.Q(owner=""), name="octo_payment_owner"),
    models.Index(
        fields=["owner", "created_at", "id"],
        condition=~models.Q(owner=""),
        name="octo_payment_owner_created",
    ),
    models.Index(
        fields=["owner", "status", "created_at", "id"],
        condition=~models.Q(owner=""),
        name="octo_payment_owner_status",
    ),
    models.Index(
        fields=["owner", "reseller_reference", "created_at", "id"],
        condition=~models.Q(owner="") & ~models.Q(reseller_reference=""),
        name="octo_payment_owner_reference",
    ),
    models.Index(
        fields=["next_check_at", "id"],
        condition=models.Q(next_check_at__isnull=False),
        name="octo_payment_unsettled",
    ),
    models.Index(
        fields=["next_booking_at", "id"],
        condition=models.Q(next_booking_at__isnull=False),
        name="octo_payment_unbooked",
    ),
    models.Index(
        fields=["expires_at"],
        condition=models.Q(expires_at__isnull=False, status__in=["pending", "failed", "authorized"]),
        name="octo_payment_expiring",
    ),
    models.Index(
        fields=["claimed_until"],
        condition=models.Q(
            claimed_until__isnull=False,
            payable_type__isnull=False,
            status__in=["pending", "failed", "authorized"],
        ),
        name="octo_payment_deadline",
    ),
    models.Index(
        fields=["capture_before"],
        condition=models.Q(capture_before__isnull=False, status="authorized"),
        name="octo_payment_capture_before",
    ),
    models.Index(
        fields=["payable_type", "id"],
        condition=models.Q(payable_type__isnull=False),
        name="octo_payment_payable_type",
    ),
    models.Index(fields=["id"], condition=models.Q(payable_type__isnull=True), name="octo_payment_bare"),
    models.Index(
        fields=["reseller_reference", "created_at", "id"],
        condition=~models.Q(reseller_reference=""),
        name="octo_payment_reference_made",
    ),
    # The operator class lets PostgreSQL find a text by its beginning; other databases ignore it.
    models.Index(
        fields=["reseller_reference"],
        condition=~models.Q(reseller_reference=""),
        opclasses=["varchar_pattern_ops"],
        name="octo_payment_reference",
    ),
    models.Index(
        fields=["stripe_charge_id"],
        condition=~models.Q(stripe_charge_id=""),
        opclasses=["varchar_pattern_ops"],
        name="octo_payment_charge",
    ),
    models.Index(fields=["id"], condition=models.Q(disputed=True), name="octo_payment_disputed"),
    models.Index(fields=["id"], condition=REJECTED_WITH_MONEY_HELD, name="octo_payment_held"),
    models.Index(fields=["id"], condition=models.Q(livemode=False), name="octo_payment_test"),
]
CONSTRAINTS = [
    # With this operator class one index finds an id whole and by its beginning; `unique` on the
    # column would make two.
    models.UniqueConstraint(
        fields=["stripe_payment_intent_id"],
        opclasses=["varchar_pattern_ops"],
        name="octo_payment_intent",
    ),
    models.CheckConstraint(condition=models.Q(amount__gt=0), name="octo_payment_amount"),
    models.CheckConstraint(
        condition=models.Q(
            status__in=["pending", "authorized", "paid", "failed", "canceled", "expired", "refunded"]
        ),
        name="octo_payment_status_known",
    ),
    models.CheckConstraint(
        condition=models.Q(capture_method__in=["automatic", "manual"]),
        name="octo_payment_capture_method",
    ),
]
