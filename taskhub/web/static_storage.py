"""Static files storages: modules and style sheets of each page joined, with names by content, and compressed.

Production has `JoinedStaticFilesStorage`, filled by `collectstatic`. `make run` has `PreparedStaticFilesStorage`,
filled by `manage.py prepare` with the files of our own pages. Without them, files are served as they are, and modules
one by one.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from django.conf import settings
from django.contrib.staticfiles import finders
from django.core.exceptions import ImproperlyConfigured
from django.core.files.base import ContentFile
from django.core.files.storage import Storage
from whitenoise.storage import CompressedManifestStaticFilesStorage

from taskhub.lib.module_join import Joiner

SITE_SCRIPT: Final = "taskhub/site.js"
"""Of every page; that of the page itself comes after it."""
SITE_STYLES: Final = ("taskhub/variables.css", "taskhub/site.css")
"""Of every page, before its own."""
_JOINED: Final = "joined/"
_PREPARED: Final = ("taskhub/", "sandboxes/")
_PREPARED_TOO: Final = tuple(
    f"drf_spectacular_sidecar/swagger-ui-dist/{name}" for name in ("swagger-ui-bundle.js", "swagger-ui.css")
)
_SOURCES: Final = "sources"
_URL: Final = r"""(?P<matched>url\(['"]?(?P<url>[^'")]+)['"]?\))"""

Files = dict[str, tuple[Storage, str]]
"""By the static name: where it is, and by which path there."""


class JoinedStaticFilesStorage(CompressedManifestStaticFilesStorage):  # type: ignore[misc]  # whitenoise has no types
    hashed_files: dict[str, str]

    def joined_url(self, name: str) -> str | None:
        """The address of the file that joins the modules of this page's script; None where there is none."""
        return self._url_of(_JOINED + name)

    def joined_styles_url(self, sheets: Sequence[str]) -> str | None:
        """The address of the file that joins these style sheets with those of every page; None where there is none."""
        return self._url_of(_styles_name(sheets))

    def _url_of(self, joined: str) -> str | None:
        return str(self.url(joined)) if self.hash_key(joined) in self.hashed_files else None

    def post_process(self, paths: Files, dry_run: bool = False, **options: Any) -> Iterator[Any]:
        """Django's hook behind `collectstatic`: joins, then renames and compresses. Raises JoinError."""
        joined: Files = {}
        for name, code in () if dry_run else (*_joined_modules(paths), *_joined_styles(paths)):
            self.delete(name)
            joined[name] = (self, self._save(name, ContentFile(code.encode())))
        yield from super().post_process({**paths, **joined}, dry_run=dry_run, **options)


class PreparedStaticFilesStorage(JoinedStaticFilesStorage):
    """What `prepare` has made in `TASKHUB_PREPARED_STATIC`, if that is of the files as they are now."""

    keep_only_hashed_files = True
    patterns = (("*.css", (_URL,)),)  # the font; modules are joined, and source maps are not prepared

    def __init__(self, location: Path | None = None) -> None:
        self._folder: Path = location or _prepared_folder()
        super().__init__(location=self._folder)
        self.load()

    def load(self) -> None:
        """Take what is there now."""
        self.hashed_files, self.manifest_hash = self.load_manifest()
        if self.hashed_files and not self._is_fresh():
            self.hashed_files = {}

    def _is_fresh(self) -> bool:
        """The files may have been changed since: a service of another version, a page that is worked on."""
        try:
            known = (self._folder / _SOURCES).read_text(encoding="ascii")
        except OSError:
            return False
        return known == _digest(_prepared_files())

    def stored_name(self, name: str) -> str:
        return str(self.hashed_files.get(self.hash_key(self.clean_name(name)), name))


def static_files_prepare() -> None:
    """Fill `TASKHUB_PREPARED_STATIC` anew, whole or not at all. Raises JoinError."""
    folder = _prepared_folder()
    new = folder.with_name(f"{folder.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    files = _prepared_files()
    for _, _, processed in PreparedStaticFilesStorage(location=new).post_process(files):
        if isinstance(processed, Exception):
            raise processed
    (new / _SOURCES).write_text(_digest(files), encoding="ascii")
    shutil.rmtree(folder, ignore_errors=True)
    new.rename(folder)


def _prepared_folder() -> Path:
    folder: Path | None = settings.TASKHUB_PREPARED_STATIC
    if folder is None:
        raise ImproperlyConfigured("TASKHUB_PREPARED_STATIC is not set: only the local profile prepares static files.")
    return folder


def _joined_modules(files: Files) -> Iterator[tuple[str, str]]:
    """The joined file of each page's script, and its code."""

    def read(name: str) -> str:
        storage, path = files[name]
        with storage.open(path) as file:
            return str(file.read().decode())

    joiner = Joiner(read)
    for script in (SITE_SCRIPT, *settings.TASKHUB_PAGE_SCRIPTS):
        yield _JOINED + script, joiner.join([SITE_SCRIPT, script])


def _styles_name(sheets: Sequence[str]) -> str:
    """A folder below the root, as the sheets' own are: so what they refer to by `../` is the same."""
    return _JOINED + "+".join(name.removesuffix(".css").replace("/", "-") for name in sheets or SITE_STYLES) + ".css"


def _joined_styles(files: Files) -> Iterator[tuple[str, str]]:
    """The joined file of each page's style sheets, and its text."""
    for sheets in ((), *settings.TASKHUB_PAGE_STYLES):
        texts = []
        for name in (*SITE_STYLES, *sheets):
            storage, path = files[name]
            with storage.open(path) as file:
                texts.append(str(file.read().decode()))
        yield _styles_name(sheets), "".join(texts)


def _prepared_files() -> Files:
    files: Files = {}
    for finder in finders.get_finders():
        for path, storage in finder.list(None):
            prefix = getattr(storage, "prefix", None)
            name = f"{prefix}/{path}" if prefix else path
            if name.startswith(_PREPARED) or name in _PREPARED_TOO:
                files.setdefault(name, (storage, path))
    return files


def _digest(files: Mapping[str, tuple[Storage, str]]) -> str:
    digest = hashlib.sha256()
    for name, (storage, path) in sorted(files.items(), key=lambda row: row[0]):
        with storage.open(path) as file:
            content = file.read()
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()
