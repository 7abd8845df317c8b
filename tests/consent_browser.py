"""A browser that signs in at a hub that runs and agrees on the consent page, by the forms of its pages."""

from __future__ import annotations

import html
import re
from typing import Any, Self

import httpx

_HIDDEN = re.compile(r'<input type="hidden" name="([^"]+)"(?: value="([^"]*)")?')


class ConsentBrowser:
    """Signed in with an API token, as a person may who has the hub's token; `options` are httpx's."""

    def __init__(self, address: str, token: str, **options: Any) -> None:
        self._address = address
        self._http = httpx.Client(base_url=address, timeout=60, trust_env=False, **options)
        self._token = token

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def agree(self, url: str, *, role: str = "agent") -> str:
        """The address of the client to which the hub leads back."""
        page = self._http.get(url)
        if page.is_redirect:
            assert page.headers["Location"].startswith("/login/?next=/oauth/authorize"), page.headers
            page = self._sign_in(page.headers["Location"])
        assert page.status_code == 200, page.text
        form = page.text[page.text.index('action="/oauth/authorize"') :]
        answer = self._post("/oauth/authorize", {**_hidden(form), "role": role, "allow": "true"})
        assert answer.status_code == 302, answer.text
        return str(answer.headers["Location"])

    def _sign_in(self, address: str) -> httpx.Response:
        form = self._http.get(address).text
        form = form[form.index('action="/login/token/"') :]
        answer = self._post("/login/token/", {**_hidden(form), "token": self._token})
        assert answer.status_code == 302, answer.text
        return self._http.get(answer.headers["Location"])

    def _post(self, path: str, form: dict[str, str]) -> httpx.Response:
        return self._http.post(path, data=form, headers={"Origin": self._address, "Referer": f"{self._address}/"})


def _hidden(form: str) -> dict[str, str]:
    found = _HIDDEN.findall(form[: form.index("</form>")])
    return {name: html.unescape(value) for name, value in found}
