"""The text of a script: what normalisation changes, and which block of a description runs."""

from __future__ import annotations

from typing import Any

import pytest
from rest_framework.test import APIClient

from taskhub.executions.script import normalised, script_block
from taskhub.models import Execution


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("\ufeffecho one\necho two\n", "echo one\necho two\n"),
        ("if true; then\r\n echo yes\r\nfi\r\n", "if true; then\n echo yes\nfi\n"),
        ("\ufeff#!/bin/sh\r\ntrue\r\n", "#!/bin/sh\ntrue\n"),
        ("printf '10%\r20%\r'\n", "printf '10%\r20%\r'\n"),
        ("echo a\r\r\n", "echo a\r\n"),
        ("echo '\ufeff'\n", "echo '\ufeff'\n"),
        ("\ufeff\ufeffecho one\n", "\ufeffecho one\n"),
        ("cat <<E\r\na\r\n\r\nE\r\n", "cat <<E\na\n\nE\n"),
        ("echo a\r", "echo a\r"),
        ("", ""),
    ],
)
def test_script_is_normalised(given: str, wanted: str) -> None:
    assert normalised(given) == wanted


RIGHT = "echo right\n"
TRANSCRIPT = "```shell-session\n$ rm -rf old\n```\n"


@pytest.mark.parametrize(
    "description",
    [
        "Words.\n\n```bash\necho right\n```\n",
        f"{TRANSCRIPT}\n```bash\necho right\n```\n",
        "````markdown\n```bash\necho example\n```\n````\n\n```bash\necho right\n```\n",
        "~~~bash\necho right\n~~~\n",
        "``` bash\necho right\n```\n",
        "```Bash\necho right\n```\n",
        "```SHELL\necho right\n```\n",
        "```sh title=setup\necho right\n```\n",
        "`````bash\necho right\n`````\n",
        "1. First\n\n   ```bash\n   echo right\n   ```\n",
        "- a\n  - b\n    ~~~ sh\n    echo right\n    ~~~\n",
        "<!--\n```bash\necho hidden\n```\n-->\n\n```bash\necho right\n```\n",
        "<!-- a\n\n~~~sh\necho hidden\n~~~\n\n-->\n```bash\necho right\n```\n",
        "```shellcheck\necho other\n```\n```sh-session\nother\n```\n```bash\necho right\n```\n",
        "~~~text\n```bash\necho example\n```\n~~~\n```bash\necho right\n```\n",
        "    ```bash\n    echo indented code\n    ```\n\n```bash\necho right\n```\n",
        "```\necho no language\n```\n```bash\necho right\n```\n",
        "\ufeff```bash\r\necho right\r\n```\r\n",
        "```bash\necho right\n",
        "Inline ```bash echo no``` code.\n\n```bash\necho right\n```\n",
        "> ```bash\n> echo right\n> ```\n",
        "```\tbash\necho right\n```\n",
        "```bash {cwd=/tmp}\necho right\n```\n",
        "```console\n$ echo no\n```\n```zsh\nno\n```\n```bash\necho right\n```\n",
        "~~~~sh\necho right\n~~~~~\n",
        "* a\n\n  1. b\n\n     ````BASH\n     echo right\n     ````\n",
        "Words\n```sh\necho right\n```\nWords\n",
        "<details>\n<summary>How</summary>\n\n```bash\necho right\n```\n</details>\n",
    ],
)
def test_the_first_block_of_a_shell_runs(description: str) -> None:
    assert script_block(description) == RIGHT


@pytest.mark.parametrize(
    "description",
    [
        "",
        "No block.",
        TRANSCRIPT,
        "```python\nprint(1)\n```\n",
        "````markdown\n```bash\necho example\n```\n````\n",
        "<!--\n```bash\necho hidden\n```\n-->\n",
        "`bash`\n\nbash\n",
        "```bashful\necho other\n```\n",
        "```sh.\necho other\n```\n",
        "```{.bash}\necho other\n```\n",
        "~~~~markdown\n~~~bash\necho example\n~~~\n~~~~\n",
        "- <!--\n  ```bash\n  echo hidden\n  ```\n  -->\n",
        "    ```bash\n    echo indented code\n    ```\n",
    ],
)
def test_description_without_a_script(description: str) -> None:
    assert script_block(description) is None


def test_block_keeps_its_own_lines() -> None:
    assert (
        script_block("- x\n\n  ```bash\n  if true; then\n    echo a\n\n  fi\n  ```\n")
        == "if true; then\n  echo a\n\nfi\n"
    )


@pytest.mark.django_db
@pytest.mark.parametrize("script", ["\ufeffecho one\r\necho two\r\n", "echo one\necho two\n"])
def test_every_interface_normalises(api: APIClient, execute: Any, script: str) -> None:
    execute(script)
    task = api.post("/api/tasks/", {"title": "t", "description": f"```sh\n{script}```"}, format="json").json()
    assert api.post(f"/api/exec/{task['id']}", {}, format="json").status_code == 202
    assert set(Execution.objects.values_list("script", flat=True)) == {"echo one\necho two\n"}
