from __future__ import annotations

import datetime as dt

from octo_stripe_gateway.models import Dispute
from tests.support.objects import SECOND


def test_evidence_is_due_when_stripe_says() -> None:
    assert Dispute().evidence_due_at is None
    assert Dispute(evidence_due_by=SECOND).evidence_due_at == dt.datetime.fromtimestamp(SECOND, tz=dt.UTC)


def test_dispute_is_shown_by_its_id() -> None:
    assert str(Dispute(stripe_dispute_id="dp_1")) == "dp_1"
