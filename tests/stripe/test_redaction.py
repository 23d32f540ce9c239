"""What a secret's repr shows, and what remains of secrets in texts and JSON."""

from __future__ import annotations

import importlib
import json
import logging
import pprint
import types
from pathlib import Path
from typing import Any

import pytest

import octo_stripe_gateway
from octo_stripe_gateway.conf import Secret
from octo_stripe_gateway.stripe import redaction
from octo_stripe_gateway.stripe.redaction import SecretBytes

PACKAGE = Path(octo_stripe_gateway.__file__).parent
# The modules that log, but for the emulator's.
MODULES = {
    ".".join(["octo_stripe_gateway", *path.relative_to(PACKAGE).with_suffix("").parts])
    for path in PACKAGE.rglob("*.py")
    if "\nlogger = " in path.read_text() and "testing" not in path.parts
}


@pytest.mark.parametrize("secret", [Secret("sk_test_1"), SecretBytes(b"sk_test_1")])
def test_a_secret_is_in_no_repr(secret: Any) -> None:
    for shown in (repr(secret), f"{secret!r}", repr([{"a": (secret,)}]), pprint.pformat([secret])):
        assert "sk_test_1" not in shown


def test_a_secret_is_a_text_everywhere_else() -> None:
    secret = Secret("sk_test_1")
    assert secret == "sk_test_1"
    assert secret in {"sk_test_1"}
    assert json.dumps([secret]) == '["sk_test_1"]'
    assert f"Bearer {secret}" == "Bearer sk_test_1"


def test_client_secrets_of_an_answer_are_hidden_where_they_are() -> None:
    answer = {
        "client_secret": "pi_1_secret_2",
        "a": [{"client_secret": "pi_3_secret_4", "id": "pi_3"}],
        "b": None,
    }
    redaction.hide_client_secrets(answer)
    assert answer["client_secret"] == "pi_1_secret_2"
    assert "_secret_" not in repr(answer).replace("client_secret", "")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("evt_1", "evt_1"),
        ("evt_1\n[OctoStripeGateway] forged", "evt_1\\n[OctoStripeGateway] forged"),
        ("a\r\x1b[31m\u2028b", "a\\r\\x1b[31m\\u2028b"),
        ("é", "é"),
        ("x" * 300, "x" * 255 + "…"),
    ],
)
def test_a_text_from_outside_stays_in_its_line(text: str, line: str) -> None:
    assert redaction.show_in_line(text) == line


@pytest.mark.parametrize("module", sorted(MODULES))
def test_no_module_s_record_begins_another_line(module: str, caplog: pytest.LogCaptureFixture) -> None:
    logger = importlib.import_module(module).logger
    logger.error("[OctoStripeGateway] %s, %s, %d", "re_1\nPayment paid", ValueError("pi_1\u2028x"), 7)
    (record,) = caplog.records
    assert record.getMessage() == "[OctoStripeGateway] re_1\\nPayment paid, pi_1\\u2028x, 7"
    assert record.msg == "[OctoStripeGateway] %s, %s, %d"


def test_a_log_record_is_rewritten_with_its_arguments() -> None:
    record = logging.LogRecord("stripe", 10, "", 0, "body=%s", ({"a": "pi_1_secret_2"},), None)
    assert redaction.RedactClientSecrets().filter(record)
    assert record.getMessage() == "body={'a': 'pi_1_secret_[redacted]'}"


def test_what_a_module_prints_is_redacted(capsys: pytest.CaptureFixture[str]) -> None:
    module: Any = types.ModuleType("chatty")
    exec("def say(*words, **options): print(*words, **options)", vars(module))
    redaction.redact_prints(module)
    module.say("pi_1_secret_2", 7, sep="|", end="!")
    assert capsys.readouterr().out == "pi_1_secret_[redacted]|7!"


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ({"client_secret": "pi_1_secret_2", "id": "pi_1"}, {"id": "pi_1"}),
        ([{"a": {"client_secret": None}}], [{"a": {}}]),
        ({"url": "https://x/?s=pi_1_secret_2&a=1"}, {"url": "https://x/?s=pi_1_secret_[redacted]&a=1"}),
        ({"a\0": "b\0", "c": "\ud800"}, {"a\ufffd": "b\ufffd", "c": "?"}),
        ([float("nan"), float("inf"), 1.5, True, None, "é"], [None, None, 1.5, True, None, "é"]),
    ],
)
def test_json_is_kept_without_secrets_and_what_no_database_takes(value: Any, kept: Any) -> None:
    assert redaction.redact(value) == kept


@pytest.mark.parametrize(
    "text",
    [
        '{"client_secret": "pi_1_secret_2", "id": "pi_1", "a": [{"client_secret": null, "b": "é"}]}',
        '{"url": "https://x/?s=pi_1_secret_2&a=1", "amount": 7, "rate": 1.5}',
        '{"a": [NaN, -Infinity, 1e999, true]}',
        r'{"a\u0000": "b", "c": "\ud800", "d": "pi_1\u005fsecret_2", "client\u005fsecret": "x"}',
        "[1]",
    ],
)
def test_json_is_read_as_it_is_kept(text: str) -> None:
    read = redaction.read_json(text.encode())
    assert read == redaction.redact(json.loads(text))
    assert "pi_1_secret_2" not in json.dumps(read)


def test_what_is_no_json_is_told_without_its_secrets() -> None:
    with pytest.raises(json.JSONDecodeError) as failure:
        redaction.read_json(b'{"client_secret": "pi_1_secret_2"')
    assert "pi_1_secret_2" not in repr(failure.value.doc)
