"""The documentation site builds, its links work on GitHub too, and its API page names what is public."""

import ast
import importlib
import importlib.util
import os
import re
import subprocess
import sys

import pytest
from markdown_it import MarkdownIt

from tests.conftest import ROOT

PAGES = sorted([*ROOT.glob("docs/*.md"), *ROOT.glob("configs/*/README.md"), *ROOT.glob("projects/**/README.md")])
PUBLIC = ["apis", "checkpoints", "converters", "datasets", "datasets.transforms", "engine", "engine.hooks",
          "evaluation.functional", "evaluation.metrics", "generation", "models", "models.adapters", "models.backbones", "models.decoders",
          "models.losses", "models.prompts", "visualization"]  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    if not all(map(importlib.util.find_spec, ("sphinx", "myst_parser", "furo"))):
        pytest.skip("pip install samplug[docs]")
    out = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "sphinx", "-q", "--fail-on-warning", "--keep-going", "-b", "html", "-c", "docs"]
    run = subprocess.run(
        [*build, "-d", str(out / "doctrees"), ".", str(out / "html")], cwd=ROOT, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-4000:]
    return out / "html"


def test_the_site_has_every_page(site):
    for page in PAGES:
        assert (site / page.relative_to(ROOT)).with_suffix(".html").exists()
    assert (site / "index.html").exists()


def test_no_page_is_lost(site):
    """From the first page every other one can be reached."""
    index = (site / "docs/index.html").read_text()
    for page in PAGES:
        if page.name != "index.md":
            name = os.path.relpath(page.with_suffix(".html"), ROOT / "docs")
            assert f'href="{name}"' in index, page


def test_the_site_needs_no_network(site):
    """Scripts, styles and pictures are its own."""
    for page in site.rglob("*.html"):
        loaded = re.findall(r'<(?:script|link|img)[^>]*(?:src|href)="(https?:[^"]*)"', page.read_text())
        assert not loaded, page


def test_public_names_are_in_the_api(site):
    api = (site / "docs/api.html").read_text()
    for package in PUBLIC:
        module = importlib.import_module(f"samplug.{package}")
        for name in module.__all__:
            value = getattr(module, name)
            if callable(value):
                assert re.search(rf'id="samplug\.[\w.]*\b{name}"', api), f"samplug.{package}.{name}"


def test_the_page_of_names_is_current():
    """``python docs/list_names.py`` writes it."""
    spec = importlib.util.spec_from_file_location("list_names", ROOT / "docs/list_names.py")
    list_names = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(list_names)
    assert (ROOT / "docs/names.md").read_text() == list_names.page(), "run python docs/list_names.py"
    assert {package.removeprefix("samplug.") for _, package in list_names.PACKAGES} >= set(PUBLIC)


def anchors(page):
    """As GitHub makes them from headings."""
    tokens = MarkdownIt().parse(page.read_text())
    headings = [tokens[i + 1].content for i, token in enumerate(tokens) if token.type == "heading_open"]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_of_the_repository(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith(("https://", "http://")):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.is_relative_to(ROOT), target
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


def messages():
    """All texts in samplug's code but docstrings, with a blank for what an f-string fills in."""
    texts = []
    for file in (ROOT / "samplug").rglob("*.py"):
        nodes = list(ast.walk(ast.parse(file.read_text())))
        docstrings = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
        for node in nodes:
            if id(node) in docstrings:
                continue
            if isinstance(node, ast.JoinedStr):
                texts.append("".join(part.value if isinstance(part, ast.Constant) else "\0" for part in node.values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
    return texts


def test_quoted_messages_are_in_the_code():
    """The first column of troubleshooting.md's tables of samplug's errors; ``...`` stands for anything."""
    texts, quoted, ours = messages(), [], False
    for line in (ROOT / "docs/troubleshooting.md").read_text().splitlines():
        cells = line.split("|")
        if line.startswith("| samplug says"):
            ours = True
        elif not line.startswith("|"):
            ours = False
        elif ours:
            quoted += re.findall(r"`([^`]+)`", cells[1])
    assert len(quoted) > 30
    for message in quoted:
        pattern = re.compile(".*?".join(map(re.escape, message.split("..."))), re.DOTALL)
        assert any(pattern.search(text) for text in texts), message


def test_tests_named_in_the_page_on_security_exist():
    text = (ROOT / "docs/security.md").read_text()
    files = {name: (ROOT / name).read_text() for name in re.findall(r"`(tests/\S+\.py)`", text)}
    named = re.findall(r"`(test_\w+)`", text)
    assert len(named) > 20
    missing = [name for name in named if not any(f"def {name}(" in content for content in files.values())]
    assert not missing
