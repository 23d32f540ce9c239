"""A plugin: installs the npm packages that the tests use, and runs them."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.node import NODE, STATIC

if TYPE_CHECKING:
    from playwright.sync_api import Page


@pytest.fixture(scope="session")
def packages() -> Path:
    """Install the packages once, outside of the project."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("Node and npm are not installed")
    wanted = (NODE / "package.json").read_bytes()
    name = f"octo-stripe-gateway-node-{hashlib.sha256(wanted).hexdigest()[:12]}"
    place = Path(tempfile.gettempdir()) / name
    place.mkdir(exist_ok=True)
    (place / "package.json").write_bytes(wanted)
    if not (place / "installed").exists():
        command = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--no-package-lock"]
        installed = subprocess.run(command, cwd=place, capture_output=True, text=True)
        if installed.returncode:
            pytest.skip(f"npm can't install the packages: {installed.stderr[-300:]}")
        (place / "installed").touch()
    return place


@pytest.fixture
def find_violations(packages: Path) -> Callable[[Page], list[str]]:
    """Return axe's complaints about the page as it is now."""
    axe = (packages / "node_modules/axe-core/axe.min.js").read_text()

    def find(page: Page) -> list[str]:
        page.evaluate(f"() => {{ {axe} }}")
        result = page.evaluate("axe.run({resultTypes: ['violations']})")
        return [
            f"{violation['id']}: {node['html']} {node['failureSummary']}"
            for violation in result["violations"]
            for node in violation["nodes"]
        ]

    return find


@pytest.fixture
def workshop(packages: Path, tmp_path: Path) -> Path:
    """Return a directory with the tests' sources for Node, in which Node finds the packages."""
    for source in NODE.iterdir():
        if source.is_file():
            shutil.copy(source, tmp_path)
    for source in STATIC.glob("*.ts"):
        shutil.copy(source, tmp_path)
    shutil.copy(STATIC / "octo-payment.js", tmp_path)
    (tmp_path / "node_modules").symlink_to(packages / "node_modules")
    return tmp_path


@pytest.fixture
def run_node(workshop: Path) -> Callable[..., str]:
    """Run a package's command, or a script, in the workshop, and return what it prints."""

    def run(*command: str) -> str:
        own = workshop / "node_modules/.bin" / command[0]
        command = (str(own), *command[1:]) if own.exists() else ("node", *command)
        done = subprocess.run(command, cwd=workshop, capture_output=True, text=True)
        return done.stdout + done.stderr

    return run


@pytest.fixture
def bundle(workshop: Path, run_node: Callable[..., str]) -> Callable[[str], str]:
    """Bundle a source and its imports for a browser."""

    def make(source: str) -> str:
        told = run_node("esbuild", source, *ESBUILD)
        result = workshop / "bundle.js"
        assert result.exists(), told
        return result.read_text()

    return make


ESBUILD = (
    "--bundle",
    "--outfile=bundle.js",
    "--jsx=automatic",
    "--log-level=warning",
    '--define:process.env.NODE_ENV="development"',
    "--define:__VUE_OPTIONS_API__=true",
    "--define:__VUE_PROD_DEVTOOLS__=false",
    "--define:__VUE_PROD_HYDRATION_MISMATCH_DETAILS__=false",
)
