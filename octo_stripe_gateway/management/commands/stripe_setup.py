"""Has Stripe send our events."""

from __future__ import annotations

import dataclasses
import shlex
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from octo_stripe_gateway.conf import gateway_settings
from octo_stripe_gateway.doctor.webhook_endpoints import (
    METADATA_KEY,
    Endpoint,
    Plan,
    WantedEndpoint,
    get_domain,
    has_connected_accounts,
    is_at,
    is_enabled,
    is_marked,
    is_served,
    list_inactive,
    list_origins,
    make_plan,
)
from octo_stripe_gateway.exceptions import GatewayError, StripeAuthenticationError
from octo_stripe_gateway.management.arguments import get_webhook_url
from octo_stripe_gateway.models import Installation
from octo_stripe_gateway.stripe import client as stripe_client
from octo_stripe_gateway.stripe.origin import Origin
from octo_stripe_gateway.stripe.snapshots import INSTALLATION_METADATA_KEY
from octo_stripe_gateway.webhooks import handlers

DASHBOARD = "https://dashboard.stripe.com"
LAPTOP = "http://127.0.0.1:8000"
BUILT_IN = (
    "There is nothing to set up: the built-in test keys are in use, and the emulator sends its events by"
    " itself. For Stripe itself, set STRIPE_API_KEY and STRIPE_PUBLISHABLE_KEY. To rehearse that against the"
    " emulator, see `Rehearsing it` in docs/operations.md."
)
CLI_SECRET = "It prints a secret that begins with whsec_: set it as"  # noqa: S105 - a sentence about one
NOT_PERMITTED = (
    "Stripe doesn't accept the key for this. A restricted one needs the permission to write webhook "
    "endpoints; `stripe_doctor` says what else is missing."
)


class Command(BaseCommand):
    """Creates the webhook endpoints or brings them up to date; a second run changes nothing."""

    help = (
        "Creates or updates Stripe's webhook endpoint for each account: exactly the events that are handled,"
        " in the SDK's API version. Prints the signing secret of a new one, once. Safe to run twice."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", help="the site's name, such as shop.example.com, or its address")
        parser.add_argument("--url", help="the endpoint's whole address, instead of --host")
        parser.add_argument(
            "--account", action="append", metavar="NAME", help="only this one of STRIPE_ACCOUNTS; repeatable"
        )
        parser.add_argument(
            "--connect", action="store_true", help="also an endpoint for the events of connected accounts"
        )
        parser.add_argument(
            "--disable-old", action="store_true", help="disable the endpoints that newer ones replace"
        )
        parser.add_argument("--dry-run", action="store_true", help="say what would be done, change nothing")
        parser.add_argument(
            "--print-cli", action="store_true", help="print the line for Stripe's CLI on a laptop, and stop"
        )

    def handle(
        self,
        *,
        host: str | None,
        url: str | None,
        account: list[str] | None,
        print_cli: bool,
        **options: Any,
    ) -> None:
        """Set up each account, whatever becomes of the others, and fail at the end if some failed."""
        self.dry_run, self.disables_old = options["dry_run"], options["disable_old"]
        url = get_webhook_url(url=url, host=host or (LAPTOP if print_cli else ""))
        if gateway_settings.uses_built_in_keys:
            self.stdout.write(BUILT_IN)
            return
        with_key = [name for name, each in gateway_settings.accounts.items() if each.api_key]
        names = account or with_key
        if not names:
            raise CommandError("There is no STRIPE_API_KEY: set it first.")
        if print_cli:
            self.print_cli(url, names)
            return
        if not is_served(url):
            self.warn(f"urls.py has no route for {url}: no event will arrive unless a proxy leads it.")
        failed = [name for name in names if not self.set_up(name, url=url, connect=options["connect"])]
        if failed:
            raise CommandError(f"Not set up: {', '.join(map(describe_account, failed))}.")

    def print_cli(self, url: str, names: list[str]) -> None:
        """Print only the commands, so that a shell can run them; the note on the secret goes to stderr."""
        events = ",".join(handlers.list_event_types())
        for name in names:
            project = f" --project-name {shlex.quote(name)}" if name else ""
            self.stdout.write(f"stripe listen --latest{project} --events {events} --forward-to {url}")
            self.stderr.write(f"{CLI_SECRET} {get_setting_path(name)}.")

    def set_up(self, account: str, *, url: str, connect: bool) -> bool:
        """Bring one account's endpoints to what they should be; tell whether that worked."""
        self.stdout.write(self.style.MIGRATE_HEADING(describe_account(account)))
        try:
            endpoints = stripe_client.list_webhook_endpoints(account)
            connect = connect or has_connected_accounts(account, endpoints)
            name = Installation.ledger.get_own().name
            own = WantedEndpoint(account=account, url=url, marked_only=connect, installation=name)
            self.carry_out(make_plan(own, endpoints))
            if connect:
                self.carry_out(make_plan(dataclasses.replace(own, connect=True), endpoints))
                # Those made by hand may be for the account itself or for connected ones.
                for each in endpoints:
                    if is_at(each, url) and is_enabled(each) and not is_marked(each):
                        note = "was made by hand and sends the same: disable it in the dashboard once the new"
                        self.warn(f"{each['id']} {note} ones work.")
            for origin in list_origins(account):
                self.register_domain(origin, get_domain(url))
        except GatewayError as error:
            denied = isinstance(error, StripeAuthenticationError)
            self.stderr.write(self.style.ERROR(NOT_PERMITTED if denied else str(error)))
            return False
        return True

    def register_domain(self, origin: Origin, name: str) -> None:
        """Have wallets shown on the site, where the key may; one that a person disabled is left alone."""
        if not name:
            return
        whose = f" of {origin.stripe_account}" if origin.stripe_account else ""
        try:
            known = stripe_client.list_payment_method_domains(origin, name)
            if not known and self.dry_run:
                self.stdout.write(f"  would register {name} for wallets{whose}")
                return
            domain = known[0] if known else stripe_client.register_payment_method_domain(origin, name)
            inactive = list(list_inactive(domain))
            if known and domain["enabled"] and inactive and not self.dry_run:
                domain = stripe_client.validate_payment_method_domain(origin, domain["id"])
                inactive = list(list_inactive(domain))
        except GatewayError as error:
            note = f"{name} could not be registered for wallets{whose}: {error}"
            self.stderr.write(self.style.WARNING(f"  {note}"))
            return
        if not known:
            self.stdout.write(f"  registered {name} for wallets{whose}")
        if inactive:
            self.warn(f"{name} does not show {', '.join(inactive)}{whose}: see Stripe's dashboard.")

    def warn(self, text: str) -> None:
        self.stdout.write(self.style.WARNING(f"  {text}"))

    def carry_out(self, plan: Plan) -> None:
        """Do what the plan says, or say that it would be done."""
        if plan.endpoint is None:
            self.create(plan.wanted)
        elif plan.changes:
            self.update(plan.endpoint, plan=plan)
        else:
            self.stdout.write(f"  {plan.endpoint['id']} is as it should be: {describe(plan.wanted)}")
        if plan.endpoint and not _has_secret(plan.wanted.account):
            mode = "" if plan.endpoint["livemode"] else "/test"
            page = f"{DASHBOARD}{mode}/webhooks/{plan.endpoint['id']}"
            path = get_setting_path(plan.wanted.account)
            self.warn(f"There is no {path}: Stripe's dashboard reveals the secret at {page}")
        for endpoint in plan.outdated:
            self.retire(endpoint, plan=plan)

    def create(self, wanted: WantedEndpoint) -> None:
        """Create an endpoint, and print its secret, which no other answer of Stripe's holds."""
        if self.dry_run:
            self.stdout.write(f"  would create {describe(wanted)}")
            return
        endpoint = stripe_client.create_webhook_endpoint(
            wanted.account,
            url=wanted.url,
            enabled_events=wanted.events,
            api_version=wanted.api_version,
            metadata={METADATA_KEY: wanted.kind, INSTALLATION_METADATA_KEY: wanted.installation},
            **({"connect": True} if wanted.connect else {}),
        )
        path = get_setting_path(wanted.account)
        joins = wanted.connect or _has_secret(wanted.account)
        place = f"Make {path} a list with it and the other" if joins else f"Set it as {path}"
        self.stdout.write(self.style.SUCCESS(f"  created {endpoint['id']}: {describe(wanted)}"))
        self.stdout.write(f"  {endpoint['secret']}")
        self.stdout.write(f"  This is its signing secret, shown this once. {place}, and restart.")

    def update(self, endpoint: Endpoint, *, plan: Plan) -> None:
        """Change an endpoint, which keeps its secret."""
        if not self.dry_run:
            stripe_client.update_webhook_endpoint(plan.wanted.account, endpoint["id"], **plan.changes)
        names = ", ".join("status" if name == "disabled" else name for name in plan.changes)
        verb = "would update" if self.dry_run else "updated"
        self.stdout.write(f"  {verb} {endpoint['id']} ({names}): {describe(plan.wanted)}")

    def retire(self, endpoint: Endpoint, *, plan: Plan) -> None:
        """Disable an endpoint that another replaces, or say when to do so."""
        what = f"{endpoint['id']} of API version {endpoint['api_version'] or 'by default'}"
        if not self.disables_old or plan.endpoint is None:
            note = "once the new secret is in use, run this again with --disable-old"
            self.warn(f"{what} sends the same events: {note}.")
            return
        if not self.dry_run:
            stripe_client.update_webhook_endpoint(plan.wanted.account, endpoint["id"], disabled=True)
        self.stdout.write(f"  {'would disable' if self.dry_run else 'disabled'} {what}")


def describe_account(name: str) -> str:
    return f"account {name!r}" if name else "the account of the top-level settings"


def describe(wanted: WantedEndpoint) -> str:
    whose = ", of connected accounts" if wanted.connect else ""
    return f"{wanted.url}, {len(wanted.events)} types of events{whose}, API {wanted.api_version}"


def get_setting_path(account: str) -> str:
    """Return where the secret of an account's endpoint belongs."""
    return f"STRIPE_ACCOUNTS[{account!r}]['STRIPE_WEBHOOK_SECRET']" if account else "STRIPE_WEBHOOK_SECRET"


def _has_secret(account: str) -> bool:
    return bool(gateway_settings.get_account(account).webhook_secrets)
