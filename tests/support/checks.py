"""What our system checks say."""

from __future__ import annotations

from django.core.checks import CheckMessage, run_checks

from octo_stripe_gateway.doctor.checks import TAG


def list_messages(*, deploy: bool = False) -> list[CheckMessage]:
    return run_checks(tags=[TAG], include_deployment_checks=deploy)


def list_ids(*, deploy: bool = False) -> list[str]:
    return sorted(str(each.id).removeprefix(f"{TAG}.") for each in list_messages(deploy=deploy))
