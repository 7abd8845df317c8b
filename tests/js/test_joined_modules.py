"""Modules that were joined (`taskhub/lib/module_join.py`), run by Node.js."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from taskhub.lib.module_join import Joiner
from tests.node import find_node

MODULES = {
    "app/log.js": 'export const said = [];\nexport const say = (text) => void said.push(text);\nsay("log");\n',
    "app/lib/one.js": (
        'import { say } from "../log.js";\n\nconst name = "one";\nsay(name);\n'
        "export async function later() {\n  return name;\n}\n"
    ),
    "app/lib/two.js": (
        'import { say } from "../log.js";\n\nconst name = "two";\nsay(name);\n'
        "export class Two {\n  #n = 2;\n  get n() {\n    return this.#n;\n  }\n}\n"
    ),
    "app/site.js": 'import { say } from "./log.js";\nsay("site");\n',
    "app/page.js": (
        "// The page.\n"
        'import {\n  later as soon,\n} from "./lib/one.js";\nimport { Two } from "./lib/two.js";\n'
        'import { said, say } from "./log.js";\nconst name = await soon();\nsay(`page ${name} ${new Two().n}`);\n'
        'console.log(said.join(", "));\n'
    ),
}


def test_modules_run_once_in_the_order_of_the_language_and_keep_their_names(tmp_path: Path) -> None:
    node = find_node()
    if node is None:
        pytest.skip("Node.js is not installed")
    file = tmp_path / "joined.mjs"
    file.write_text(Joiner(MODULES.__getitem__).join(["app/site.js", "app/page.js"]))
    done = subprocess.run([node, str(file)], check=False, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "log, site, one, two, page one 2", done.stderr
