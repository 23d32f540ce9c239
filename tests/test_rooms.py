"""Imports go one way, from room to room, and never in a circle; type-checking imports count as well."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import octo_stripe_gateway
from octo_stripe_gateway.ledger.write import PLANNED
from octo_stripe_gateway.models import Payment

PACKAGE = octo_stripe_gateway.__name__
FOLDER = Path(octo_stripe_gateway.__file__).parent
# Whoever opens a module should see the end of it.
MOST_LINES = 450
Imports = dict[str, set[str]]

# Each room may import from those after it, but not from one beside it.
LEVELS = (
    ("management", "admin"),
    ("doctor",),
    ("api", "upkeep"),
    ("webhooks",),
    ("services",),
    ("books",),
    ("ledger",),
    ("models",),
    ("stripe",),
    ("doors",),
)
# Where a module stands, by the longest prefix of its name. A package of a room's name needs no line.
ROOMS = {
    "": "api",
    "apps": "management",
    "conf": "doors",
    "exceptions": "doors",
    "signals": "doors",
    "templatetags": "admin",
}
# What claims save of payments: when it is asked for them again, and how often it was.
CLAIMED = PLANNED | {"claimed_until"}
# They go against the arrows today. A line that is no longer needed fails a test.
KNOWN: set[tuple[str, str]] = {
    ("webhooks.views", "api"),
    ("webhooks.views", "api.errors"),
}


def list_files() -> list[Path]:
    return [path for path in FOLDER.rglob("*.py") if not {"migrations", "testing"} & {*path.parts}]


def read_imports() -> Imports:
    """Return by module which modules of ours it imports, anywhere in it."""
    modules = {get_name(path): ast.parse(path.read_text()) for path in list_files()}
    found = {name: {*find_imports(name, tree, known=modules.keys())} for name, tree in modules.items()}
    return {name: {*others, *find_packages(name, others)} - {name} for name, others in found.items()}


def get_name(path: Path) -> str:
    parts = path.relative_to(FOLDER).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def find_imports(module: str, tree: ast.Module, *, known: Collection[str]) -> Iterator[str]:
    """Yield what a module imports; a name taken from its own package takes that whole package as well."""
    for node in ast.walk(tree):
        named = []
        if isinstance(node, ast.Import):
            named = [(each.name, "") for each in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            named = [(node.module or "", each.name) for each in node.names]
        for imported, name in named:
            if imported.split(".")[0] == PACKAGE:
                whole = imported.removeprefix(PACKAGE).removeprefix(".")
                part = f"{whole}.{name}".strip(".")
                yield part if part in known else whole
                if name and whole and module.startswith(f"{whole}."):
                    yield whole


def find_packages(module: str, others: set[str]) -> Iterator[str]:
    """Yield the packages whose `__init__` runs when a module imports others; its own runs already."""
    for other in others:
        parts = other.split(".")
        packages = {".".join(parts[:length]) for length in range(1, len(parts))}
        yield from (each for each in packages if not f"{module}.".startswith(f"{each}."))


def get_room(module: str) -> str:
    parts = module.split(".")
    prefixes = [".".join(parts[:length]) for length in range(len(parts), 0, -1)]
    named = next((ROOMS[each] for each in prefixes if each in ROOMS), None)
    rooms = {room for level in LEVELS for room in level}
    return named or (parts[0] if parts[0] in rooms else ROOMS[""])


def list_upward(imports: Imports) -> set[tuple[str, str]]:
    levels = {room: number for number, level in enumerate(LEVELS) for room in level}
    return {
        (module, imported)
        for module, others in imports.items()
        for imported in others
        if imported and get_room(module) != get_room(imported)
        if levels[get_room(module)] >= levels[get_room(imported)]
    }


def find_ledger_writes() -> Iterator[tuple[str, str]]:
    """Yield where columns of payments, and any of refunds and disputes, are saved by name."""
    columns = {field.attname for field in Payment._meta.concrete_fields}
    for path in list_files():
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            owner, named = ast.unparse(node.func.value), {each.arg or "" for each in node.keywords}
            saves = node.func.attr in {"save_changed", "bulk_update"}
            if (saves and owner.startswith(("Payment.", "model."))) or (
                (saves or node.func.attr == "update") and owner.startswith(("Refund.", "Dispute."))
            ):
                yield get_name(path), "any"
            elif node.func.attr == "update":
                yield from ((get_name(path), name) for name in named & columns)


@pytest.fixture(scope="module")
def imports() -> Imports:
    return read_imports()


def test_no_import_goes_in_a_circle(imports: Imports) -> None:
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(reversed(error.args[1])))


def test_imports_go_down_the_rooms(imports: Imports) -> None:
    assert list_upward(imports) - KNOWN == set()


def test_what_goes_up_is_listed_no_longer_than_it_does(imports: Imports) -> None:
    assert KNOWN - list_upward(imports) == set()


def test_table_of_rooms_names_only_what_is_there(imports: Imports) -> None:
    assert ROOMS.keys() - imports.keys() == set()


def test_only_the_writer_saves_what_the_ledger_says_and_claims_only_when_to_ask() -> None:
    writes = {(module, name) for module, name in find_ledger_writes() if name not in CLAIMED}
    assert writes == {("ledger.write", "any")}


def test_circle_and_upward_import_would_be_found() -> None:
    found = {"models.payments": {"services.refunds"}, "services.refunds": {"models.payments"}}
    with pytest.raises(CycleError):
        TopologicalSorter(found).prepare()
    assert list_upward(found) == {("models.payments", "services.refunds")}
    tree = ast.parse("if TYPE_CHECKING:\n    from octo_stripe_gateway.models import payments, Payment")
    known = {"models", "models.payments"}
    assert {*find_imports("services.refunds", tree, known=known)} == {"models.payments", "models"}
    own = ast.parse("from octo_stripe_gateway.models import payments")
    assert {*find_imports("models.refunds", own, known=known)} == {"models.payments", "models"}
    direct = ast.parse("from octo_stripe_gateway.models.payments import Payment")
    assert {*find_imports("models.refunds", direct, known=known)} == {"models.payments"}
    assert {*find_packages("services.refunds", {"models.payments"})} == {"models"}
    assert {*find_packages("models.refunds", {"models.payments"})} == set()


def test_no_module_is_too_long_to_be_read_at_once() -> None:
    lines = {get_name(path): len(path.read_text().splitlines()) for path in list_files()}
    assert {name: count for name, count in lines.items() if count > MOST_LINES} == {}


def test_only_the_doors_lie_at_the_root() -> None:
    doors = {"__init__", "apps", "conf", "exceptions", "signals", "urls"}
    assert {path.stem for path in FOLDER.glob("*.py")} == doors
