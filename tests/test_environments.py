"""environment.yml, Dockerfile, constraints.txt and docs/install.md agree with setup.py. None of the environments is built here."""

import ast
import re
from itertools import chain
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.conftest import ROOT


def setup_arguments():
    """What setup.py says, read, not run."""
    keywords = {
        node.arg: node.value
        for node in ast.walk(ast.parse((ROOT / "setup.py").read_text()))
        if isinstance(node, ast.keyword)
    }
    return {
        name: ast.literal_eval(keywords[name]) for name in ("install_requires", "extras_require", "python_requires")
    }


SETUP = setup_arguments()
NEEDED = {canonicalize_name(Requirement(text).name) for text in SETUP["install_requires"]}
EXTRAS = SETUP["extras_require"]


def of_samplug(text):
    """Whether ``.[a,b]`` names extras that there are."""
    extras = re.fullmatch(r"\.(?:\[([\w,]+)\])?", text)[1]
    return set((extras or "").split(",")) - {""} <= set(EXTRAS)


@pytest.mark.parametrize("text", [*SETUP["install_requires"], *chain(*EXTRAS.values())])
def test_tested_versions_are_in_the_ranges(text):
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines()[1:])
    pins = {canonicalize_name(name): version for name, version in pins.items()}
    requirement = Requirement(text)
    assert Version(pins[canonicalize_name(requirement.name)]) in requirement.specifier


def test_conda():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    python, _, pip = environment["dependencies"]
    assert Version(python.removeprefix("python=")) in Requirement(f"python{SETUP['python_requires']}").specifier
    constraint, *packages, samplug = pip["pip"]
    assert (ROOT / constraint.removeprefix("--constraint ")).is_file()
    assert {Requirement(text).name for text in packages} <= NEEDED
    assert of_samplug(samplug.removeprefix("--editable "))


def dockerfile():
    """Instruction, arguments."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [line.split(maxsplit=1) for line in text.splitlines() if line.strip()]


def test_docker():
    steps = dockerfile()
    base = dict(steps)["FROM"]
    assert (
        Version(base.removeprefix("python:").removesuffix("-slim"))
        in Requirement(f"python{SETUP['python_requires']}").specifier
    )
    ignored = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    for source in [name for word, text in steps if word == "COPY" for name in text.split()[:-1]]:
        assert (ROOT / source).exists()
        assert not {source, *map(str, Path(source).parents)} - {"."} & set(ignored), (
            f"{source} does not reach the image"
        )
    installs = [text for word, text in steps if word == "RUN" and "pip install" in text]
    assert all(
        "-c constraints.txt" in install for line in installs for install in line.split("&&") if "pip install" in install
    )
    assert all(of_samplug(extra) for line in installs for extra in re.findall(r"-e '([^']*)'", line))
    words = [word for word, _ in steps]
    assert words.index("USER") < words.index("ENTRYPOINT")
    assert dict(steps)["USER"] != "root"
    assert (ROOT / ast.literal_eval(dict(steps)["CMD"])[0]).is_file()


def test_git_ignores_reach_no_image():
    ignored = (ROOT / ".dockerignore").read_text().split()
    for line in (ROOT / ".gitignore").read_text().split():
        name = line.rstrip("/")
        assert {name, f"**/{name}"} & set(ignored), f"{line} is ignored by git and would be in the image"


def test_installing_without_dependencies_names_them_all():
    """The command for environments with the original OpenMMLab packages."""
    page = (ROOT / "docs/install.md").read_text()
    command = next(line for line in page.splitlines() if "filelock" in line)
    named = {canonicalize_name(name) for name in command.split("constraints.txt ")[1].split()}
    assert named == {name for name in NEEDED if not name.startswith("onedl-")} - {"torch"}


def test_install_page_lists_the_extras():
    page = (ROOT / "docs/install.md").read_text()
    assert set(EXTRAS) == set(re.findall(r"^\| `(\w+)` \|", page, flags=re.MULTILINE))
