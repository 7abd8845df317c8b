"""Documentation and project files: relative links resolve, make targets exist, actions are pinned."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.processes import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "benchmarks").glob("*.md")])
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
PINNED = re.compile(r"[\w-]+/[\w-]+@[0-9a-f]{40}\Z")


def prose(page: Path) -> str:
    return FENCE.sub("", page.read_text())


def anchors(page: Path) -> set[str]:
    """The ids that GitHub gives to the headings of a page."""
    found = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in HEADING.findall(prose(page)))
    return {text.strip().replace(" ", "-") for text in found}


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_resolve(page: Path) -> None:
    broken = []
    for link in LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert not broken


def test_every_page_is_linked_from_readme() -> None:
    linked = {(ROOT / link.partition("#")[0]).resolve() for link in LINK.findall(prose(ROOT / "README.md"))}
    assert {page for page in PAGES if page.parent == ROOT / "docs"} <= linked


def test_every_setting_is_documented() -> None:
    """Each environment variable that the settings read is in docs/settings.md."""
    profiles = (path for path in (ROOT / "config" / "settings").glob("*.py") if path.name != "test.py")
    sources = "".join(path.read_text() for path in profiles)
    read = set(re.findall(r'env\.\w+\(\s*"([A-Z][A-Z_]+)"', sources))
    read.discard("TASKHUB_SANDBOXES_OFF")  # set by the launcher only
    assert len(read) > 20
    read |= {f"{name}_FILE" for name in re.findall(r'env\.(?:secret|database)\(\s*"([A-Z][A-Z_]+)"', sources)}
    named = set(re.findall(r"`([A-Z][A-Z_]+)`", (ROOT / "docs" / "settings.md").read_text()))
    assert read - named == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_documented_make_targets_exist(page: Path) -> None:
    named = set(re.findall(r"`make ([a-z-]+)", page.read_text())) | set(
        re.findall(r"^ *make ([a-z-]+)", page.read_text(), re.MULTILINE)
    )
    assert named <= make_targets()


def test_deployment_is_edited_once_at_the_top() -> None:
    """Apart from the assignments of HOST and REPOSITORY no command of docs/deploy.md has a placeholder."""
    blocks = re.findall(r"^ *```sh\n(.*?)^ *```", (ROOT / "docs" / "deploy.md").read_text(), re.MULTILINE | re.DOTALL)
    lines = [line.strip() for block in blocks for line in block.splitlines()]
    placeholders = [line for line in lines if "example.com" in line or re.search(r"<[a-z][^>]*>", line)]
    edited = [line for line in placeholders if line.startswith(("HOST=", "REPOSITORY="))]
    assert edited
    assert [line for line in placeholders if line not in edited and not line.startswith("sed -i")] == []


def steps(workflow: Path) -> list[dict[str, Any]]:
    return [step for job in yaml.safe_load(workflow.read_text())["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_pin_actions_and_only_read(workflow: Path) -> None:
    document = yaml.safe_load(workflow.read_text())
    assert document["permissions"] == {"contents": "read"}
    assert all("permissions" not in job for job in document["jobs"].values())
    uses = [step["uses"] for step in steps(workflow) if "uses" in step]
    assert uses
    assert [action for action in uses if not PINNED.match(action)] == []
    checkouts = [step for step in steps(workflow) if step.get("uses", "").startswith("actions/checkout@")]
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)


def test_hooks_and_workflows_call_make_targets_that_exist() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert [hook["repo"] for hook in hooks] == ["local"]
    commands = [hook["entry"] for repo in hooks for hook in repo["hooks"]]
    commands += [step["run"] for workflow in WORKFLOWS for step in steps(workflow) if "run" in step]
    called = {command.split()[1] for command in commands if command.startswith("make ")}
    assert {"lint", "test", "soak"} <= called <= make_targets()


def test_the_devcontainer_has_the_packages_of_ci() -> None:
    """Except python3-venv: the Python of its image can make environments."""
    wanted = set(re.findall(r"wanted\+=\(([^)]+)\)", (ROOT / ".ci" / "run").read_text()))
    packages = {package for words in wanted for package in words.split()} - {"python3-venv"}
    assert "bubblewrap" in packages
    assert packages <= set((ROOT / ".devcontainer" / "Dockerfile").read_text().split())


@pytest.mark.parametrize("app", ["taskhub", "sandboxes"])
def test_contributing_says_what_each_folder_of_an_app_is(app: str) -> None:
    listed = re.search(rf"^{app}/ .*\n((?:  .*\n)+)", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
    assert listed is not None
    folders = {path.name for path in (ROOT / app).iterdir() if (path / "__init__.py").exists()} - {"migrations"}
    assert {name for name in folders if f" {name}/" not in listed[1]} == set()
