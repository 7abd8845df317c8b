"""Files through the SDK, and attempts to leave the sandbox's folder."""

import os
import tempfile
import warnings
from pathlib import Path

import aiohttp
import pytest
from local_server_harness import Raw, Server

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from daytona import (
        DaytonaBadRequestError,
        DaytonaConflictError,
        DaytonaError,
        DaytonaForbiddenError,
        DaytonaNotFoundError,
        FileDownloadRequest,
        FileUpload,
    )


async def test_upload_and_download(any_sandbox, tmp_path, is_daemon):
    fs = any_sandbox.fs
    home = await any_sandbox.get_user_home_dir()
    data = bytes(range(256)) * 5000
    await fs.upload_file(data, "deep/er/file.bin")
    # The daemon expands no ~, and / is the sandbox's own root.
    own = () if is_daemon else ("~/deep/er/file.bin", "/deep/er/file.bin")
    for path in ("deep/er/file.bin", f"{home}/deep/er/file.bin", *own):
        assert await fs.download_file(path) == data
    local = tmp_path / "local"
    local.write_bytes(b"from a file")
    await fs.upload_file(str(local), "ä b/x")
    await fs.download_file("ä b/x", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == b"from a file"
    assert (await any_sandbox.process.exec("cat 'ä b/x'")).result == "from a file"
    await fs.upload_files([FileUpload(b"1", "one"), FileUpload(b"", "empty"), FileUpload(b"2", f"{home}/two")])
    downloads = await fs.download_files([FileDownloadRequest(source=name) for name in ("one", "empty", "two", "none")])
    assert [(each.result, bool(each.error)) for each in downloads] == [
        (b"1", False),
        (b"", False),
        (b"2", False),
        (None, True),
    ]
    assert downloads[3].error_details.status_code == 404
    with pytest.raises(DaytonaNotFoundError):
        await fs.download_file("none")
    chunks = [chunk async for chunk in await fs.download_file_stream("deep/er/file.bin")]
    assert b"".join(chunks) == data
    await fs.upload_file_stream(data, "streamed")
    assert (await fs.get_file_info("streamed")).size == len(data)


async def test_an_upload_replaces_a_file_at_once_and_leaves_nothing_else(any_sandbox):
    await any_sandbox.fs.upload_file(b"old", "d/f")
    await any_sandbox.fs.upload_file(b"new", "d/f")
    assert (await any_sandbox.process.exec("cat d/f; ls -A d")).result == "newf\n"


async def test_information_and_listing(any_sandbox, is_daemon):
    fs = any_sandbox.fs
    await fs.create_folder("a/b", "755")
    await fs.upload_file(b"12345", "a/file.txt")
    await fs.set_file_permissions("a/file.txt", mode="640")
    info = await fs.get_file_info("a/file.txt")
    assert (info.name, info.size, info.is_dir, info.permissions, info.mode) == (
        "file.txt",
        5,
        False,
        "0640",
        "-rw-r-----",
    )
    assert [(each.name, each.is_dir) for each in await fs.list_files("a")] == [("b", True), ("file.txt", False)]
    if not is_daemon:  # it lists one level, and expands no ~
        assert {each.name for each in await fs.list_files("", depth=2)} >= {"a", "b", "file.txt"}
        assert (await fs.get_file_info("~")).is_dir
    with pytest.raises(DaytonaNotFoundError):
        await fs.get_file_info("none")
    with pytest.raises(DaytonaNotFoundError):
        await fs.list_files("none")


async def test_moving_and_deleting(any_sandbox, is_daemon):
    fs = any_sandbox.fs
    await fs.upload_file(b"x", "from/f")
    await fs.move_files("from/f", "from/g")
    assert await fs.download_file("from/g") == b"x"
    await fs.upload_file(b"y", "other")
    with pytest.raises(DaytonaConflictError):
        await fs.move_files("other", "from/g")
    with pytest.raises(DaytonaNotFoundError):
        await fs.move_files("none", "more")
    with pytest.raises(DaytonaBadRequestError):
        await fs.delete_file("from")
    await fs.delete_file("from", recursive=True)
    await fs.delete_file("other")
    left = {each.name for each in await fs.list_files(await any_sandbox.get_work_dir())}
    assert left & {"from", "other"} == set()
    assert is_daemon or left == {".tmp"}  # the daemon keeps its sessions there
    with pytest.raises(DaytonaNotFoundError):
        await fs.delete_file("other")


async def test_finding(any_sandbox, is_daemon):
    fs = any_sandbox.fs
    home = await any_sandbox.get_work_dir()
    where = "" if is_daemon else f"{home}/"  # the daemon answers with paths as they were asked for
    for path, data in (
        ("src/a.py", b"import os\nprint(1)\n"),
        ("src/deep/b.py", b"print(2)"),
        ("src/c.txt", b"no"),
        ("src/binary", b"print\0"),
    ):
        await fs.upload_file(data, path)
    matches = await fs.find_files("src", "print(")
    assert [(each.file, each.line, each.content) for each in matches] == [
        (f"{where}src/a.py", 2, "print(1)"),
        (f"{where}src/deep/b.py", 1, "print(2)"),
    ]
    if is_daemon:  # it matches names, at any depth
        assert set((await fs.search_files("src", "*.py")).files) == {"src/a.py", "src/deep/b.py"}
        return
    for pattern, found in (
        ("*.py", {"a.py"}),
        ("**/*.py", {"a.py", "deep/b.py"}),
        ("{a,c}.*", {"a.py", "c.txt"}),
        ("[!a].txt", {"c.txt"}),
        ("?.py", {"a.py"}),
    ):
        files = (await fs.search_files("src", pattern)).files
        assert {file.removeprefix(f"{home}/src/") for file in files} == found
    with pytest.raises(DaytonaBadRequestError):
        await fs.search_files("src", "{a")


@pytest.mark.parametrize("path", ["../x", "~/../x", "/../x", "a/../../x", "../../../../../../etc/passwd"])
async def test_no_path_leads_out(sandbox, path):
    fs = sandbox.fs
    for call in (
        fs.get_file_info(path),
        fs.list_files(path),
        fs.create_folder(path, "755"),
        fs.delete_file(path),
        fs.move_files(path, "here"),
        fs.find_files(path, "root"),
        fs.search_files(path, "*"),
        fs.set_file_permissions(path, mode="777"),
    ):
        with pytest.raises(DaytonaForbiddenError):
            await call
    await fs.upload_file(b"x", "f")
    with pytest.raises(DaytonaForbiddenError):
        await fs.move_files("f", path)
    for call in (fs.upload_file(b"x", path), fs.download_file(path)):
        with pytest.raises(DaytonaError, match="outside"):
            await call


async def test_no_symlink_leads_out(sandbox, server: Server):
    fs = sandbox.fs
    with tempfile.TemporaryDirectory() as outside:
        (Path(outside) / "secret").write_text("secret")
        await sandbox.process.exec(
            f"ln -s {outside} folder; ln -s {outside}/secret file; ln -s folder chain; ln -s x x"
        )
        for path in ("folder/secret", "file", "chain/secret", "folder/new", "chain"):
            for call in (
                fs.get_file_info(path),
                fs.list_files(path),
                fs.find_files(path, "s"),
                fs.search_files(path, "*"),
            ):
                with pytest.raises((DaytonaForbiddenError, DaytonaBadRequestError)):
                    await call
            with pytest.raises(DaytonaError, match="outside"):
                await fs.download_file(path)
        for path in ("folder/new", "chain/new", "folder/a/b"):
            with pytest.raises(DaytonaError, match="outside"):
                await fs.upload_file(b"x", path)
        # Replacing or deleting a symlink is about the symlink, not about what it points to.
        await fs.upload_file(b"mine", "file")
        assert await fs.download_file("file") == b"mine"
        await fs.delete_file("folder")
        assert await fs.find_files("~", "secret") == []
        with pytest.raises(DaytonaError):
            await fs.download_file("x")
        assert (Path(outside) / "secret").read_text() == "secret"
        assert os.listdir(outside) == ["secret"]  # noqa: PTH208  a short look


async def test_a_link_inside_is_followed(sandbox):
    await sandbox.fs.upload_file(b"x", "real/f")
    await sandbox.process.exec("ln -s real link; ln -s real/f direct")
    assert await sandbox.fs.download_file("link/f") == b"x"
    assert await sandbox.fs.download_file("direct") == b"x"
    await sandbox.fs.upload_file(b"y", "link/g")
    assert (await sandbox.process.exec("cat real/g")).result == "y"


async def test_a_pipe_is_no_file(sandbox):
    await sandbox.process.exec("mkfifo p")
    with pytest.raises(DaytonaError):
        await sandbox.fs.download_file("p")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "files/info", None),
        ("GET", "files?depth=0", None),
        ("GET", "files?depth=x", None),
        ("POST", "files/folder?path=x&mode=9", None),
        ("POST", "files/folder?path=.tmp/%00", None),
        ("POST", "files/bulk-download", {"paths": []}),
        ("POST", "files/bulk-download", b"{"),
        ("POST", "files/bulk-upload", b"{}"),
        ("GET", "files/download?path=~", None),
        ("GET", "files/search?path=~", None),
        ("DELETE", "files?path=", None),
    ],
)
async def test_a_bad_request_is_400(sandbox, raw: Raw, method, path, body):
    assert (await raw.call(method, f"/toolbox/{sandbox.id}/{path}", body=body))[0] == 400


async def test_a_single_download_and_the_home_itself(sandbox, raw: Raw):
    await sandbox.fs.upload_file(b"data", "f")
    status, body, headers = await raw.call("GET", f"/toolbox/{sandbox.id}/files/download?path=f")
    assert (status, body, headers["Content-Length"]) == (200, b"data", "4")
    assert (await raw.call("DELETE", f"/toolbox/{sandbox.id}/files?path=~&recursive=true"))[0] in (400, 403)
    assert (await raw.call("GET", f"/toolbox/{sandbox.id}/files/download?path=none"))[0] == 404


async def test_an_upload_without_paths_is_400(sandbox, raw: Raw):
    for name in ("files[0].file", "other"):
        form = aiohttp.FormData()
        form.add_field(name, b"x", filename="f")
        url = f"{raw.server.url}/toolbox/{sandbox.id}/files/bulk-upload"
        async with raw.session.post(url, data=form, headers=raw.headers()) as response:
            assert response.status == 400
            assert (await response.json())["errors"]


async def test_large_files_stream(sandbox, server: Server, tmp_path):
    large = tmp_path / "large"
    with large.open("wb") as file:
        for number in range(64):
            file.write(bytes([number]) * (1 << 20))
    before = server.memory_kib()
    await sandbox.fs.upload_file(str(large), "large")
    await sandbox.fs.download_file("large", str(tmp_path / "back"))
    assert large.read_bytes() == (tmp_path / "back").read_bytes()
    assert server.memory_kib("VmHWM") - before < 40 * 1024
