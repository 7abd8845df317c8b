"""The JavaScript of the pages and its tests: formatter, linter and types.

    python .ci/js_checks.py          from anywhere; without npm it says so and exits with 0
    python .ci/js_checks.py --fix    formats, and applies the linter's own corrections

1. Installs what it runs, and a Node.js to run it, from `.ci/js/package-lock.json`, where that changed since.
2. Runs Prettier, ESLint, and `tsc` in strict mode over the scripts and over their tests.

Exits with 1 if something is wrong; the output says what. `.ci/js_types.py` writes the types of events and REST bodies.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.node import JS, find_node, install_npm  # noqa: E402 - found by the line above

SCRIPTS: Final = ("taskhub/static", "sandboxes/static", "tests/js")
CONFIG: Final = JS.relative_to(ROOT)


def run(package: str, script: str, *arguments: str) -> bool:
    """Run the command of an npm package from the project's root. Whether it succeeded."""
    node = find_node()
    assert node is not None, "the lock file has one"  # noqa: S101 - after install_npm()
    command = [node, str(JS / "node_modules" / package / script), *arguments]
    done = subprocess.run(command, cwd=ROOT, check=False)
    return done.returncode == 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fix", action="store_true", help="format, and correct what can be corrected")
    fix = parser.parse_args().fix
    if shutil.which("npm") is None:
        print("npm is not installed: the JavaScript of the pages is not checked.")
        return 0
    install_npm(JS)
    files = [f"{folder}/**/*.js" for folder in SCRIPTS] + [f"{CONFIG}/*.js"]
    prettier = ["--config", f"{CONFIG}/prettier.json", "--log-level", "warn", "--write" if fix else "--check", *files]
    eslint = ["--config", f"{CONFIG}/eslint.config.js", *(["--fix"] if fix else []), *SCRIPTS]
    good = [
        run("prettier", "bin/prettier.cjs", *prettier),
        run("eslint", "bin/eslint.js", *eslint),
        run("typescript", "bin/tsc", "--project", f"{CONFIG}/tsconfig.json"),
        run("typescript", "bin/tsc", "--project", f"{CONFIG}/tsconfig.tests.json"),
    ]
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
