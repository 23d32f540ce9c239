"""Makes dj-stripe's tables, and the rows that tell it the account, its key and the endpoint's secret."""

from __future__ import annotations

import django
from django.core.management import call_command

from tests.benchmarks.dj_stripe.settings import ENDPOINT, STRIPE_TEST_SECRET_KEY
from tests.benchmarks.settings import WEBHOOK_SECRET


def main() -> None:
    django.setup()
    call_command("migrate", verbosity=0)
    from djstripe.models import Account, APIKey, WebhookEndpoint

    account = Account.objects.create(id="acct_benchmark", livemode=False)
    # Without this row dj-stripe asks Stripe for the key's account.
    APIKey.objects.create(
        secret=STRIPE_TEST_SECRET_KEY, type="secret", livemode=False, djstripe_owner_account=account
    )
    WebhookEndpoint.objects.create(
        id="we_benchmark",
        djstripe_uuid=ENDPOINT,
        djstripe_owner_account=account,
        secret=WEBHOOK_SECRET,
        enabled_events=["*"],
        livemode=False,
        status="enabled",
        url=f"https://example.com/stripe/webhook/{ENDPOINT}/",
    )


if __name__ == "__main__":
    main()
