"""The installation from the lock: with an old pip, after newer releases, after a changed lock, on an old Python."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import distributions
from pathlib import Path

import pytest

from tests.deploy.stub_index import Pin, make_index, make_wheel, newer, pins
from tests.processes import ROOT

REQUIREMENTS = ROOT / "requirements"
WHEELS = Path("/usr/share/python-wheels")
BOTH = pytest.mark.parametrize("lock", ["base", "dev"])


@pytest.fixture
def old_pip() -> Path:
    """Of Debian 12: 23.0.1, which resolves a package with an extra apart from the same package without."""
    found = sorted(WHEELS.glob("pip-*.whl"))
    if not found:
        pytest.skip("Debian's python3-pip-whl is not installed")
    return found[0]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with the installer and an empty index."""
    (tmp_path / "requirements").mkdir()
    shutil.copy(REQUIREMENTS / "install.py", tmp_path / "requirements")
    (tmp_path / "index").mkdir()
    return tmp_path


def offline(project: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "COV_", "PYTHON"))}
    return kept | {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(project / "index"), "PIP_NO_CACHE_DIR": "1"}


def install(project: Path, lock: str, *options: str, python: tuple[str, ...] = (sys.executable,)) -> tuple[int, str]:
    command = [*python, str(project / "requirements/install.py"), lock, *options]
    done = subprocess.run(command, env=offline(project), capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def installed(project: Path) -> dict[str, str]:
    paths = [str(path) for path in (project / ".venv").glob("lib/python*/site-packages")]
    return {found.name: found.version for found in distributions(path=paths)}


def write_lock(project: Path, name: str, packages: list[Pin]) -> None:
    """A lock of stubs without dependencies."""
    lines = []
    for pin in packages:
        digest = make_wheel(project / "index", pin.name, pin.version, [])
        lines.append(f"{pin.name}=={pin.version} \\\n    --hash=sha256:{digest}\n")
    (project / "requirements" / f"{name}.txt").write_text("".join(lines))


@BOTH
def test_lock_installs_with_an_old_pip_after_everything_was_released_again(
    project: Path, old_pip: Path, lock: str
) -> None:
    wanted = pins(REQUIREMENTS / f"{lock}.txt")
    text = make_index(project / "index", wanted)
    (project / "requirements" / f"{lock}.txt").write_text(text)
    code, said = install(project, lock, "--pip", str(old_pip))
    assert code == 0, said
    assert f"{len(wanted)} of {len(wanted)} packages installed" in said
    found = {name.lower().replace("_", "-").replace(".", "-"): version for name, version in installed(project).items()}
    assert found == {pin.name: pin.version for pin in wanted}


@BOTH
def test_resolving_the_same_lock_with_an_old_pip_fails(project: Path, old_pip: Path, lock: str) -> None:
    """The test above would notice: this is how the requirements were installed before."""
    text = make_index(project / "index", pins(REQUIREMENTS / f"{lock}.txt"), extras=False)
    (project / "lock.txt").write_text(text)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(project / "env")], check=True)
    command = [project / "env/bin/python", "-I", f"{old_pip}/pip", "install", "--dry-run", "--require-hashes"]
    done = subprocess.run(
        [*command, "--requirement", project / "lock.txt"],
        env=offline(project),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "all requirements must have their versions pinned with ==" in done.stderr


def test_the_lock_of_the_tests_has_everything_of_the_lock_that_runs_and_extras_stay_named() -> None:
    base, dev = (pins(REQUIREMENTS / f"{name}.txt") for name in ("base", "dev"))
    assert {(pin.name, pin.version) for pin in base} <= {(pin.name, pin.version) for pin in dev}
    assert {"pyjwt[crypto]", "twisted[tls]", "psycopg[binary]"} <= {pin.name + pin.extras for pin in base}


@pytest.fixture
def ready(project: Path, old_pip: Path) -> Callable[..., str]:
    """`ready("name==1", …)` writes base.txt and installs it."""

    def made(*packages: str, lock: str = "base") -> str:
        write_lock(
            project, lock, [Pin(name, "", version) for name, _, version in (p.partition("==") for p in packages)]
        )
        code, said = install(project, lock, "--pip", str(old_pip))
        assert code == 0, said
        return said

    return made


def test_changed_lock_is_a_new_environment_without_what_was_dropped(project: Path, ready: Callable[..., str]) -> None:
    ready("kept==1.0", "dropped==1.0")
    first = (project / ".venv").resolve()
    assert installed(project) == {"kept": "1.0", "dropped": "1.0"}
    ready("kept==2.0")
    assert installed(project) == {"kept": "2.0"}
    # A process that was started in the former environment keeps its files until the next change.
    assert (first / "bin/python").exists()
    ready("kept==3.0")
    assert not first.exists()
    assert len([path for path in (project / ".venvs").iterdir() if path.is_dir()]) == 2


def test_installed_lock_is_not_installed_again(project: Path, ready: Callable[..., str]) -> None:
    ready("one==1.0")
    shutil.rmtree(project / "index")
    assert install(project, "base") == (0, "")
    # Nor from a shell in which the environment is active.
    assert install(project, "base", python=(str(project / ".venv/bin/python"),)) == (0, "")


def test_requirements_of_the_tests_are_added_to_the_environment(project: Path, ready: Callable[..., str]) -> None:
    write_lock(project, "dev", [Pin("one", "", "1.0"), Pin("two", "", "1.0")])
    ready("one==1.0")
    environment = (project / ".venv").resolve()
    assert "2 of 2 packages installed" in ready("one==1.0", "two==1.0", lock="dev")
    assert installed(project) == {"one": "1.0", "two": "1.0"}
    assert (project / ".venv").resolve() == environment
    assert install(project, "base") == (0, "")


def test_failed_installation_leaves_the_old_environment_in_use_and_says_why(
    project: Path, old_pip: Path, ready: Callable[..., str]
) -> None:
    ready("one==1.0")
    lock = project / "requirements/base.txt"
    lock.write_text(lock.read_text().replace("one==1.0", "one==1.1"))
    code, said = install(project, "base", "--pip", str(old_pip))
    assert code == 1
    assert "No matching distribution found for one==1.1" in said
    assert said.endswith("pip could not install base.txt; its last lines are above.\n")
    assert installed(project) == {"one": "1.0"}
    # A file that is not the one that was locked is refused as well.
    make_wheel(project / "index", "one", "1.1", ["Summary: another one"])
    code, said = install(project, "base", "--pip", str(old_pip))
    assert code == 1
    assert "THESE PACKAGES DO NOT MATCH THE HASHES" in said
    assert installed(project) == {"one": "1.0"}
    ready("one==1.1")
    assert installed(project) == {"one": "1.1"}


def test_lock_that_is_not_complete_is_refused(project: Path, old_pip: Path) -> None:
    digest = make_wheel(project / "index", "one", "1.0", ["Requires-Dist: two"])
    make_wheel(project / "index", "two", newer("1.0"), [])
    (project / "requirements/base.txt").write_text(f"one==1.0 \\\n    --hash=sha256:{digest}\n")
    code, said = install(project, "base", "--pip", str(old_pip))
    assert code == 1
    assert "one 1.0 requires two, which is not installed." in said
    assert said.endswith("base.txt is not complete; the lines above say why.\n")
    assert not (project / ".venv").exists()


def test_environment_of_the_former_release_is_replaced_and_a_foreign_one_is_used_as_it_is(
    project: Path, ready: Callable[..., str]
) -> None:
    (project / ".venv/bin").mkdir(parents=True)
    ready("one==1.0")
    assert installed(project) == {"one": "1.0"}
    (project / ".venv").unlink()
    (project / "foreign").mkdir()
    (project / ".venv").symlink_to(project / "foreign")
    assert "Using the environment that .venv links to as it is: " in ready("one==2.0")
    assert (project / ".venv").resolve() == project / "foreign"


def test_old_python_is_told_in_one_sentence_before_anything_happens(project: Path) -> None:
    program = (
        "import sys, runpy; sys.version_info = (3, 10, 4, 'final', 0); sys.argv.pop(0);"
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    code, said = install(project, "base", python=(sys.executable, "-c", program))
    assert code == 1
    assert said.startswith("TaskHub needs Python 3.11 or newer; this is 3.10 (")
    assert said.count("\n") == 1
    assert not (project / ".venvs").exists()
    # An old Python has to be able to read the file that says so.
    ast.parse((REQUIREMENTS / "install.py").read_text(), feature_version=(3, 6))
