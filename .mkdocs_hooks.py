"""Adds to the site what isn't a page of the package: the README as its start, and the OpenAPI document."""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent
PACKAGE = ROOT / "octo_stripe_gateway"
OPENAPI_PAGE = '# OpenAPI\n\n<swagger-ui src="openapi.json"/>\n'


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the README, with its links as they are seen from the pages' folder, and what it shows."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    readme = readme.replace("](octo_stripe_gateway/docs/", "](").replace("](example_project/", "](")
    # The site has no contributors' files.
    readme = re.sub(r"\[([^\]]+)\]\(\.github/[^)]+\)", r"`\1`", readme)
    files.append(File.generated(config, "index.md", content=readme))
    files.append(File.generated(config, "openapi.md", content=OPENAPI_PAGE))
    files.append(File.generated(config, "openapi.json", abs_src_path=str(PACKAGE / "openapi.json")))
    for picture in (ROOT / "example_project" / "screenshots").glob("*.png"):
        files.append(File.generated(config, f"screenshots/{picture.name}", abs_src_path=str(picture)))
    return files


def on_page_markdown(markdown: str, **_page: object) -> str:
    """Point a page's pictures at where the site has them."""
    return markdown.replace("](../../example_project/", "](")
