"""The checker stops each of these faults, put into the rules on purpose."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import octo_stripe_gateway

pytestmark = pytest.mark.slow

ROOT = Path(octo_stripe_gateway.__file__).parents[1]
RULES, SAID, DUE = "ledger/rules.py", "ledger/said.py", "services/dues.py"

# By what it does: the file, what stands there, what is put in its place, and the families that must fail.
MUTATIONS = {
    "an older snapshot is applied": (
        SAID,
        "    if said > known:\n",
        "    if said.stage >= known.stage:\n",
        "payment or hold",
    ),
    "a reopened dispute is ignored": (
        SAID,
        "    if snapshot.precedence > known or not dispute.status:\n",
        "    if dispute.is_open and snapshot.precedence > known or not dispute.status:\n",
        "two_disputes or disputes",
    ),
    "a canceled refund is taken for a succeeded one": (
        "models/refunds.py",
        'DEAD_STATUSES = frozenset({"failed", "canceled"})',
        'DEAD_STATUSES = frozenset({"failed"})',
        "refunds",
    ),
    "that a dispute moves money is forgotten": (
        RULES,
        '    return any(has_changed(each, "status", "status_as_of") for each in rows.disputes or ())\n',
        "    return False\n",
        "disputes",
    ),
    "a canceled intent of another amount is never applied": (
        SAID,
        "    if said > known:\n",
        "    if said > known and (said.stage != 2 or snapshot.amount == payment.amount):\n",
        "amounts",
    ),
    "a requested amount is taken from an older snapshot": (
        RULES,
        "    is_later = payment.intent_as_of > payment.amount_as_of\n",
        "    is_later = True\n",
        "elsewhere",
    ),
    "a second payment of one payable is accepted": (
        DUE,
        '    if not due:\n        return reject("paid_already")\n',
        "    if not due:\n        return None\n",
        "payments",
    ),
}


@pytest.mark.parametrize("what", MUTATIONS)
def test_checker_stops_a_fault(what: str, tmp_path: Path) -> None:
    name, stands, instead, families = MUTATIONS[what]
    for folder in ("octo_stripe_gateway", "tests"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    module = tmp_path / "octo_stripe_gateway" / name
    source = module.read_text()
    assert source.count(stands) == 1
    module.write_text(source.replace(stands, instead))
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "tests/ledger/test_orders.py",
        "-k",
        families,
        "-m",
        "",
    ]
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "BrokenRuleError" in done.stdout
