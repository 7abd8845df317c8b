"""The OpenAPI and AsyncAPI documents of a hub that runs, against the official tools, and clients made from them.

    python .ci/document_checks.py            from the root; npm must be installed
    python .ci/document_checks.py install    only the first step

1. Installs the tools from `.ci/documents`: npm packages with their Node.js, and Python packages in an environment of
   their own.
2. Starts a hub as `make run` does, on a data folder of its own, or takes the one of TASKHUB_ADDRESS and TASKHUB_TOKEN;
   fetches both documents.
3. openapi-spec-validator and Redocly's linter on the one, AsyncAPI's parser on the other.
4. Generates a Python client (openapi-python-client) and a TypeScript client (openapi-typescript with openapi-fetch,
   type-checked); each creates a task, lists it, executes its script and follows it to the end.

Exits with 1 if something is not as it should be; the output says what.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import httpx

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.node import find_node, install_npm  # noqa: E402 - found by the line above
from tests.processes import running_hub  # noqa: E402 - likewise

HERE = ROOT / ".ci" / "documents"
MODULES = HERE / "node_modules"
PYTHON = HERE / ".venv" / "bin"


class Hub(NamedTuple):
    """Where it answers, and an operator's token."""

    address: str
    token: str


def node() -> str:
    """The Node.js of the lock file; what the machine has may be too old."""
    return find_node(HERE) or "node"


def run(what: str, *command: str | Path, cwd: Path = HERE, env: dict[str, str] | None = None) -> bool:
    """Whether the command succeeded; what it said is printed if it did not."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        check=False,
        capture_output=True,
        text=True,
        timeout=400,
        env={**os.environ, **(env or {})},
    )
    print(f"{'ok    ' if done.returncode == 0 else 'FAILED'} {what}")
    if done.returncode:
        print(done.stdout, done.stderr, sep="\n")
    return done.returncode == 0


def install() -> bool:
    """Both kinds of packages, where their lock file changed since."""
    install_npm(HERE)
    wanted = hashlib.sha256((HERE / "requirements.txt").read_bytes()).hexdigest()
    stamp = HERE / ".venv" / ".installed"
    if stamp.exists() and stamp.read_text() == wanted:
        return True
    pip = ("install", "--quiet", "--disable-pip-version-check", "--require-hashes", "-r", HERE / "requirements.txt")
    made = (PYTHON / "pip").exists() or run("environment", sys.executable, "-m", "venv", HERE / ".venv")
    if not (made and run("Python packages", PYTHON / "pip", *pip)):
        return False
    stamp.write_text(wanted)
    return True


def lint(openapi: Path, asyncapi: Path) -> list[bool]:
    redocly = MODULES / "@redocly" / "cli" / "bin" / "cli.js"
    return [
        run("openapi-spec-validator", PYTHON / "openapi-spec-validator", openapi),
        run("redocly lint", node(), redocly, "lint", openapi, "--config", HERE / "redocly.yaml"),
        run("@asyncapi/parser", node(), HERE / "asyncapi.mjs", asyncapi),
    ]


def use_python_client(hub: Hub, openapi: Path, scratch: Path) -> bool:
    config = scratch / "generator.yaml"
    config.write_text("post_hooks: []\n")  # its formatter would want a ruff of its own
    options = ("--path", openapi, "--output-path", scratch / "taskhub_client", "--meta", "none", "--config", config)
    work = (PYTHON / "python", HERE / "use_client.py", hub.address, hub.token)
    return run(
        "openapi-python-client", PYTHON / "openapi-python-client", "generate", *options, "--fail-on-warning"
    ) and run("the Python client's work", *work, env={"PYTHONPATH": str(scratch)})


def use_typescript_client(hub: Hub, openapi: Path) -> bool:
    """Compiled beside its modules: Node.js looks for them from where the file is."""
    built = HERE / "built"
    built.mkdir(exist_ok=True)
    typescript = MODULES / "typescript" / "bin" / "tsc"
    generator = MODULES / "openapi-typescript" / "bin" / "cli.js"
    return (
        run("openapi-typescript", node(), generator, openapi, "-o", built / "schema.d.ts")
        and run("tsc", node(), typescript, "--project", HERE / "tsconfig.json")
        and run("the TypeScript client's work", node(), built / "use_client.js", hub.address, hub.token)
    )


def check(hub: Hub) -> bool:
    """Whether both documents of this hub are as they should be."""
    with tempfile.TemporaryDirectory(prefix="taskhub-documents-") as name:
        scratch = Path(name)
        openapi, asyncapi = scratch / "openapi.json", scratch / "asyncapi.json"
        openapi.write_bytes(httpx.get(f"{hub.address}/api/schema/?format=json", timeout=60).content)
        asyncapi.write_bytes(httpx.get(f"{hub.address}/api/asyncapi.json", timeout=60).content)
        good = [
            *lint(openapi, asyncapi),
            use_python_client(hub, openapi, scratch),
            use_typescript_client(hub, openapi),
        ]
    print(
        "The documents are as they should be." if all(good) else "The documents are not as they should be: see above."
    )
    return all(good)


def main() -> int:
    if not install():
        return 1
    if sys.argv[1:] == ["install"]:
        return 0
    if address := os.environ.get("TASKHUB_ADDRESS"):
        return 0 if check(Hub(address, os.environ["TASKHUB_TOKEN"])) else 1
    with tempfile.TemporaryDirectory(prefix="taskhub-documents-") as name, running_hub(Path(name) / "hub") as hub:
        return 0 if check(Hub(hub.address, hub.token)) else 1


if __name__ == "__main__":
    sys.exit(main())
