"""The runner before the script: the checkout of a repository, in bubblewrap, from servers of git's own."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import pytest

from sandboxes.execute.prepare_script import PrepareScript
from taskhub.executions.checkout import Checkout, Credential
from tests.git_servers import GitServer, commit, git, git_daemon, make_repository
from tests.sandboxes.bubblewrapped import TOKENS, Session, end_mark

TOKEN = "t@k/e:n%20 of-these-tests"
USER = "us@r:/x"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`app` has the branches main and other, the tag v1, and a submodule; `sub` is that one."""
    folder = tmp_path_factory.mktemp("repositories")
    make_repository(folder / "sub", lib="lib\n")
    app = make_repository(folder / "app", a="1\n", b="1\n", c__txt="1\n")
    git(app, "tag", "-a", "v1", "-m", "v1")
    git(app, "checkout", "-q", "-b", "other")
    commit(app, a="other\n")
    git(app, "checkout", "-q", "main")
    commit(app, a="2\n")
    with_submodule = make_repository(folder / "outer", o="o\n")
    git(with_submodule, "submodule", "--quiet", "add", "../sub", "sub")
    git(with_submodule, "commit", "-q", "-m", "sub")
    return folder


@pytest.fixture(scope="module")
def daemon(root: Path) -> Iterator[str]:
    with git_daemon(root) as url:
        yield url


@pytest.fixture
def private(root: Path) -> Iterator[GitServer]:
    with GitServer(root, (USER, TOKEN)).serving() as server:
        yield server


def run(home: Path, checkout: Checkout, script: str = "true", **fields: object) -> tuple[list[str], str]:
    """The lines of stdout without marks of time, and stderr."""
    home.mkdir(exist_ok=True)
    session = Session(home, script, checkout=checkout, **fields)
    out, err, left = session.outcome()
    assert left == ""
    return re.sub(r"\x1b_[0-9a-f]{32}S\d+\x1b\\\n", "", out).splitlines(), err


def commit_of(lines: list[str]) -> str:
    found = re.fullmatch(rf"\x1b_{TOKENS.run}C([0-9a-f]{{40}})\x1b\\", lines[1])
    assert found, lines
    return found[1]


@pytest.mark.parametrize("ref", ["", "main", "other", "v1", "refs/heads/other", "commit", "short"])
def test_branch_tag_or_commit_is_there_before_setup_and_script(
    tmp_path: Path, root: Path, daemon: str, ref: str
) -> None:
    app = root / "app"
    name = {"": "main", "commit": "other", "short": "main~1"}.get(ref, ref)
    wanted = git(app, "rev-parse", f"{name}^{{commit}}")
    given = {"commit": wanted, "short": wanted[:8]}.get(ref, ref)
    lines, _ = run(
        tmp_path / "home",
        Checkout(f"{daemon}/app", given, "src"),
        "cd src; git log --format=%H | tee ~/log; git status --porcelain; git branch --show-current",
        setup="cat src/a",
    )
    assert commit_of(lines) == wanted
    shown = git(app, "show", f"{wanted}:a")
    branch = [ref] if ref in {"main", "other"} else []
    history = git(app, "log", "--format=%H", wanted).split() if ref == "short" else [wanted]
    assert lines[2:-1] == ["[TaskHub: setup]", shown, "[TaskHub: script]", *history, *branch]
    assert not list((tmp_path / "home" / ".taskhub").rglob("git"))


def test_two_branches_are_checked_out_at_once(tmp_path: Path, root: Path, daemon: str) -> None:
    refs = ("main", "other")
    with ThreadPoolExecutor() as pool:
        runs = [pool.submit(run, tmp_path / ref, Checkout(f"{daemon}/app", ref), "cat a") for ref in refs]
    assert [done.result()[0][-2] for done in runs] == ["2", "other"]


def test_history_is_as_deep_as_asked_for(tmp_path: Path, daemon: str) -> None:
    lines, _ = run(tmp_path / "home", Checkout(f"{daemon}/app", depth=0), "git rev-list --count HEAD")
    assert lines[-2] == "2"


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("{daemon}/app#gone", "ref"),
        (f"{{daemon}}/app#{'f' * 40}", "ref"),
        ("{daemon}/none#", "repository"),
        ("git://127.0.0.1:1/app#", "host"),
        ("https://no-such-host.invalid/app#", "host"),
        ("{private}/app#", "auth"),
    ],
)
def test_failed_checkout_says_why(tmp_path: Path, daemon: str, private: GitServer, address: str, reason: str) -> None:
    url, _, ref = address.format(daemon=daemon, private=private.url).partition("#")
    lines, err = run(tmp_path / "home", Checkout(url, ref), "touch ~/ran", setup="touch ~/ran")
    assert lines[0] == "[TaskHub: checkout]"
    assert lines[-1] + "\n" == end_mark(f"1 0 0 {reason}")
    assert "git: " in err
    assert url.split("/")[2].partition(":")[0] not in err
    assert "/none" not in err
    assert not (tmp_path / "home" / "ran").exists()


def test_sandbox_without_git_is_told(tmp_path: Path, daemon: str) -> None:
    lines, err = run(tmp_path / "home", Checkout(f"{daemon}/app"), without="/usr/bin/git")
    assert lines[-1] + "\n" == end_mark("1 0 0 git")
    assert err.startswith("TaskHub: the sandbox has no git.\n")


def test_submodule_of_the_same_host_is_fetched_with_the_credential(tmp_path: Path, private: GitServer) -> None:
    credential = Credential(USER, TOKEN, (private.host,))
    lines, _ = run(tmp_path / "home", Checkout(f"{private.url}/outer", "", "", 1, credential), "cat sub/lib")
    assert lines[-2] == "lib"
    assert ("/sub/info/refs?service=git-upload-pack", private.wanted) in private.asked


def test_prepare_comes_before_the_checkout_and_does_not_inherit_its_credential(
    tmp_path: Path, private: GitServer
) -> None:
    credential = Credential(USER, TOKEN, (private.host,))
    ask = f"git ls-remote {private.url}/app 2>/dev/null </dev/null || echo refused"
    prepare = PrepareScript(f"ls -l /proc/self/fd | grep -c /credential; {ask}", {"GIT_TERMINAL_PROMPT": "0"})
    checkout = Checkout(f"{private.url}/app", "main", "", 1, credential)
    lines, _ = run(tmp_path / "home", checkout, "cat a", prepare=prepare)
    assert lines[:4] == ["[TaskHub: prepare]", "0", "refused", "[TaskHub: checkout]"]
    assert lines[-2] == "2"


def test_credential_is_gone_before_setup_and_script(tmp_path: Path, private: GitServer) -> None:
    """Its user name and token have all that breaks an address. Nothing of it is in files, processes, or git's reach."""
    home = tmp_path / "home"
    look = (
        "cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline >>~/processes 2>/dev/null; git config --list >>~/config; "
        "ls -l /proc/[0-9]*/fd 2>/dev/null | grep -c /credential; git ls-remote >/dev/null 2>~/asked || echo refused"
    )
    credential = Credential(USER, TOKEN, (private.host,))
    env = {"GIT_TERMINAL_PROMPT": "0"}
    earlier = home / ".taskhub" / "taskhub-x" / "earlier-try"
    earlier.mkdir(parents=True)
    (earlier / "credential").write_text(TOKEN)
    lines, _ = run(home, Checkout(f"{private.url}/app", "main", "", 1, credential), look, setup=look, env=env)
    assert lines[2:-1] == ["[TaskHub: setup]", "0", "refused", "[TaskHub: script]", "0", "refused"]
    assert "could not read Username" in (home / "asked").read_text()
    assert "TASKHUB_EXECUTION" in (home / "processes").read_text()
    assert f"remote.origin.url={private.url}/app" in (home / "config").read_text()
    for secret in (TOKEN, USER, quote(TOKEN, safe=""), str(private.wanted).removeprefix("Basic ")):
        assert not [path for path in home.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]


@pytest.mark.parametrize("case", ["wrong password", "another host", "redirect"])
def test_credential_goes_to_its_hosts_alone(tmp_path: Path, root: Path, private: GitServer, case: str) -> None:
    with GitServer(root, (USER, TOKEN)).serving() as other, GitServer(root, None, other.url).serving() as redirects:
        hosts = {"another host": (private.host,), "redirect": (redirects.host,)}.get(case, (private.host,))
        url = {"another host": other.url, "redirect": redirects.url}.get(case, private.url)
        credential = Credential(USER, "wrong" if case == "wrong password" else TOKEN, hosts)
        lines, err = run(tmp_path / "home", Checkout(f"{url}/app", "", "", 1, credential))
        assert lines[-1] + "\n" == end_mark(f"1 0 0 {'redirect' if case == 'redirect' else 'auth'}")
        assert TOKEN not in err
        assert not [given for _, given in (*other.asked, *redirects.asked) if given]


def test_commits_and_changes_make_the_same_tree_elsewhere(tmp_path: Path, root: Path, daemon: str) -> None:
    """Files as in the commit are not kept, whatever their times; what was committed or changed is, twice over."""
    script = """
    cd src; git config user.name n; git config user.email n@example.com; git config diff.noprefix true
    git config format.coverLetter true; git config diff.context 0
    head -c 3000 /dev/urandom >binary; seq 30 >long; git add binary long; git commit -qm 'one: "é"'
    echo 3 >>b; git commit -qam two
    echo 4 >>c.txt; sed -i 15s/$/x/ long; touch a; echo x >untracked
    mkdir ../out; echo r >../out/r; git rev-parse HEAD^{tree} >~/tree
    git stash create | xargs -I{} git rev-parse {}^{tree} >~/dirty
    """
    home = tmp_path / "home"
    lines, _ = run(home, Checkout(f"{daemon}/app", "main", "src"), script, setup="echo built >src/built")
    own = home / ".taskhub" / "taskhub-x"
    first, *files = (own / "artifacts").read_text().partition("\n\n")[0].split("\n")
    assert sorted(line.split(" ", 2)[2] for line in files) == [
        "out/r",
        *(f"src/{n}" for n in ("b", "binary", "c.txt", "long", "untracked")),
    ]
    sizes = [(own / name).stat().st_size for name in ("changes.mbox", "changes.patch")]
    assert [int(word) for word in first.split()] == [6, int(first.split()[1]), *sizes]
    assert all(sizes)
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", str(root / "app"), str(clone)], check=True)
    git(clone, "checkout", "-q", commit_of(lines))
    git(clone, "am", "-q", str(own / "changes.mbox"))
    assert git(clone, "rev-parse", "HEAD^{tree}") == (home / "tree").read_text().strip()
    git(clone, "apply", "--index", str(own / "changes.patch"))
    assert git(clone, "write-tree") == (home / "dirty").read_text().strip()


@pytest.mark.parametrize(
    "script",
    [
        "git reset -q --hard HEAD~1",
        "echo 3 >>b; git commit -q --amend -am amended",
        "git fetch -q origin other:other; git merge -q other || { echo both >a; git commit -qam merged; }; echo 4 >>b",
        "git rm -q b; git commit -qm less; git revert --no-edit HEAD >/dev/null; git rm -q c.txt",
    ],
    ids=["reset", "amend", "merge", "revert"],
)
def test_history_that_is_no_straight_line_makes_the_same_tree_elsewhere(
    tmp_path: Path, root: Path, daemon: str, script: str
) -> None:
    named = "git config user.name n; git config user.email n@example.com"
    tree = "git rev-parse $(git stash create | grep . || echo HEAD)^{tree} >~/tree"
    home = tmp_path / "home"
    lines, _ = run(home, Checkout(f"{daemon}/app", "main", "src", 0), f"cd src; {named}; {script}; {tree}")
    own = home / ".taskhub" / "taskhub-x"
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", str(root / "app"), str(clone)], check=True)
    git(clone, "checkout", "-q", commit_of(lines))
    mbox, patch = own / "changes.mbox", own / "changes.patch"
    if mbox.exists() and mbox.stat().st_size:
        git(clone, "am", "-q", str(mbox))
    if patch.stat().st_size:
        git(clone, "apply", "--index", str(patch))
    assert git(clone, "write-tree") == (home / "tree").read_text().strip()


def test_changes_that_git_does_not_tell_in_time_are_larger_than_any_limit(tmp_path: Path, daemon: str) -> None:
    """Cut short, they would pass for all that was changed; and the files would pass for those of the commit."""
    home = tmp_path / "home"
    script = "git config filter.s.clean 'sleep 11; cat'; echo 'a filter=s' >.gitattributes; echo 9 >>a"
    run(home, Checkout(f"{daemon}/app"), script)
    first, *files = (home / ".taskhub/taskhub-x/artifacts").read_text().partition("\n\n")[0].split("\n")
    assert "a" in [line.split(" ", 2)[2] for line in files]
    assert int(first.split()[3]) > 10**15


def test_script_that_changes_nothing_leaves_nothing(tmp_path: Path, daemon: str) -> None:
    home = tmp_path / "home"
    run(home, Checkout(f"{daemon}/app"), "touch a; chmod 600 b")
    first, *files = (home / ".taskhub/taskhub-x/artifacts").read_text().partition("\n\n")[0].split("\n")
    assert (first.split()[0], first.split()[2:], files) == ("0", ["0", "0"], [])


def test_given_file_takes_the_place_of_one_in_the_repository(tmp_path: Path, daemon: str) -> None:
    lines, _ = run(tmp_path / "home", Checkout(f"{daemon}/app"), "cat a b", given={"a": b"given\n"})
    assert lines[-3:-1] == ["given", "1"]
