"""The README and the docs, page by page, for the tests that compare them with the code."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "octo_stripe_gateway" / "docs"
PAGES = {path.name: path.read_text() for path in (ROOT / "README.md", *sorted(FOLDER.glob("*.md")))}


def get_blocks(language: str, *, page: str = "") -> list[str]:
    """Return the blocks of code in a language, of one page or of all."""
    texts = [PAGES[page]] if page else PAGES.values()
    return [block for text in texts for block in re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)]


def get_block(language: str, containing: str) -> str:
    """Return the only block, of all pages, that contains this."""
    (block,) = (block for block in get_blocks(language) if containing in block)
    return block


def get_section(page: str, heading: str) -> str:
    """Return a page's text below a heading, subsections included."""
    level = heading.partition(" ")[0]
    found = re.search(rf"^{re.escape(heading)}\n(.*?)(?=^#{{1,{len(level)}}} |\Z)", PAGES[page], re.M | re.S)
    assert found, f"{page} has no {heading!r}"
    return found[1]


def get_rows(page: str, heading: str) -> list[list[str]]:
    """Return the cells of the rows of a section's tables, headers included."""
    lines = re.findall(r"^\|(.*)\|$", get_section(page, heading), re.MULTILINE)
    return [[cell.strip() for cell in line.split("|")] for line in lines]


def get_names(page: str, heading: str, *, column: int = 0) -> list[str]:
    """Return all code spans in one column of a section's tables, repeats included."""
    cells = (row[column] for row in get_rows(page, heading) if len(row) > column)
    return re.findall(r"`([\w-]+)", " ".join(cells))


def run(block: str, **names: Any) -> dict[str, Any]:
    """Execute a block of Python, and return the names that it defined."""
    namespace = {"__name__": "tests.shop.readme", **names}
    exec(compile(block, "a page", "exec"), namespace)
    return namespace
