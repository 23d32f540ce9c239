"""How the table of payments is searched, and what holds in each of its rows."""

from __future__ import annotations

from django.db.models import F, Q, UniqueConstraint

from octo_stripe_gateway.models.schema import check, index

REJECTED_WITH_MONEY_HELD = ~Q(rejection_code="") & (
    Q(amount_capturable__gt=0) | Q(amount_received__gt=F("amount_refunded") + F("amount_lost"))
)
# A payable may have any number of payments that were given up; none of them counts for anything.
COUNTS = Q(amount_received__gt=0) | ~Q(status__in=["canceled", "expired"])
UNPAID = ["pending", "failed", "authorized"]
OWNED, REFERRED, OF_PAYABLE = ~Q(owner=""), ~Q(reseller_reference=""), Q(payable_type__isnull=False)
# Lets PostgreSQL find a text by its beginning; other databases ignore it.
BY_BEGINNING = ["varchar_pattern_ops"]

INDEXES = [
    # Each ends with what lists are ordered by, moment, id or both: see `api.lists`. PostgreSQL plans with all
    # of them for every statement, so that each costs some microseconds, also where it is partial.
    index("payment_payable", "payable_type", "payable_id", "created_at", "id", where=OF_PAYABLE),
    index("payment_counted", "payable_type", "payable_id", where=OF_PAYABLE & COUNTS),
    index("payment_created", "created_at", "id"),
    index("payment_connected", "stripe_account", where=~Q(stripe_account="")),
    index("payment_status_created", "status", "created_at", "id"),
    index("payment_currency", "currency", "id"),
    # Only the rare rows are searched for with the rest, so all other writes pay nothing.
    index("payment_owner_created", "owner", "created_at", "id", where=OWNED),
    index("payment_owner_status", "owner", "status", "created_at", "id", where=OWNED),
    index(
        "payment_owner_reference", "owner", "reseller_reference", "created_at", "id", where=OWNED & REFERRED
    ),
    index("payment_unsettled", "next_check_at", "id", where=Q(next_check_at__isnull=False)),
    index("payment_unbooked", "next_booking_at", "id", where=Q(next_booking_at__isnull=False)),
    index("payment_expiring", "expires_at", where=Q(expires_at__isnull=False, status__in=UNPAID)),
    index(
        "payment_deadline",
        "claimed_until",
        where=Q(claimed_until__isnull=False, payable_type__isnull=False, status__in=UNPAID),
    ),
    index(
        "payment_capture_before",
        "capture_before",
        where=Q(capture_before__isnull=False, status="authorized"),
    ),
    index("payment_payable_type", "payable_type", "id"),
    index("payment_reference_made", "reseller_reference", "created_at", "id", where=REFERRED),
    index("payment_reference", "reseller_reference", where=REFERRED, opclasses=BY_BEGINNING),
    index("payment_charge", "stripe_charge_id", where=~Q(stripe_charge_id=""), opclasses=BY_BEGINNING),
    # Few at any time: those that are open to question, one way or the other.
    index("payment_questioned", "id", where=Q(disputed=True) | REJECTED_WITH_MONEY_HELD),
    index("payment_test", "id", where=Q(livemode=False)),
]
CONSTRAINTS = [
    # One index finds an id whole and by its beginning; `unique` on the column would make two.
    UniqueConstraint(fields=["stripe_payment_intent_id"], opclasses=BY_BEGINNING, name="octo_payment_intent"),
    check("payment_amount", Q(amount__gt=0)),
    check(
        "payment_status_known",
        Q(status__in=["pending", "authorized", "paid", "failed", "canceled", "expired", "refunded"]),
    ),
    check("payment_capture_method", Q(capture_method__in=["automatic", "manual"])),
]
