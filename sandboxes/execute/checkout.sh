# Checks out the environment's repository into the working folder, or its folder $path. run.sh reads it in a subshell.
#
# What goes to the descriptor $said is the commit; all else is for the log. $dir/phase has the reason of a failure.
# Git has an environment of its own here: no configuration, hook, filter or helper of the image or of an earlier script
# takes part. The credential is an open descriptor ($key) to a file without a name, which only askpass.sh reads.
home=$launch/git
target=$work${path:+/$path}

fail() {
  echo "$1" >"$dir/phase"
  rm -rf "$home"
  exit 1
}

[ -x "$(type -P git)" ] || { echo "TaskHub: the sandbox has no git." >&2; fail git; }

# Without a credential a redirect takes nothing along.
redirects=initial
[ -z "$key" ] || redirects=false
mkdir -p "$home/empty" "$target" || fail checkout
cat >"$home/.gitconfig" <<END
[core]
  hooksPath = $home/empty
  fsmonitor = false
[init]
  templateDir = $home/empty
  defaultBranch = main
[credential]
  helper =
[http]
  followRedirects = $redirects
[advice]
  detachedHead = false
[gc]
  auto = 0
[maintenance]
  auto = false
END
environ=(
  PATH="$PATH" HOME="$home" LC_ALL=C GIT_CONFIG_NOSYSTEM=1 GIT_TERMINAL_PROMPT=0 GIT_ALLOW_PROTOCOL=https:http:git
  GIT_ASKPASS="$launch/askpass" TASKHUB_KEY="$key" TASKHUB_SCHEME="${url%%:*}"
)
for name in http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY SSL_CERT_FILE SSL_CERT_DIR GIT_SSL_CAINFO; do
  [ -z "${!name}" ] || environ+=("$name=${!name}")
done
chmod +x "$launch/askpass"

run_git() { env -i "${environ[@]}" git -C "$target" "$@" 2>"$home/told"; }

# What git says, without the addresses: they are for operators.
tell() {
  local host=${url#*://}
  host=${host%%[:/]*}
  local place=/${url#*://*/}
  sed -E "/askpass/d; s/^/git: /; s,[a-z]+://[^ ']*,the repository,g" "$home/told" | place=$place awk -v host="$host" '{
    told = ""
    if (at = index($0, ENVIRON["place"])) {
      $0 = substr($0, 1, at - 1) "the repository" substr($0, at + length(ENVIRON["place"]))
    }
    while (at = index($0, host)) { told = told substr($0, 1, at - 1) "its server"; $0 = substr($0, at + length(host)) }
    print told $0
  }' >&2
}

reason() {
  case $(<"$home/told") in
    *"find remote ref"* | *"not our ref"* | *"unadvertised object"* | *"Needed a single revision"*) echo ref ;;
    *"Authentication failed"* | *"could not read Username"* | *"could not read Password"* | *"error: 401"* | *"error: 403"*)
      echo auth ;;
    *"error: 30"[12378]* | *redirect*) echo redirect ;;
    *"resolve host"* | *"look up"* | *"connect to"* | *"timed out"* | *refused*) echo host ;;
    *"not found"* | *"does not appear"* | *"not exported"*) echo repository ;;
    *) echo checkout ;;
  esac
}

stop() {
  local why=${1:-$(reason)}
  [ -s "$home/told" ] || echo "there is no such branch, tag or commit" >"$home/told"
  tell
  fail "$why"
}

fetch() { run_git fetch -q --no-tags --no-recurse-submodules "$@"; }

shallow=()
[ "$depth" = 0 ] || shallow=(--depth "$depth")
wanted=${ref:-HEAD}
run_git init -q && run_git remote add origin "$url" || stop checkout
found=FETCH_HEAD
if ! fetch "${shallow[@]}" origin "$wanted"; then
  case $(reason) in auth | redirect | host | repository) stop ;; esac
  if [[ $ref =~ ^[0-9a-fA-F]{4,64}$ ]]; then
    # A server need not give a commit by its name, and gives none by a part of it.
    fetch origin '+refs/heads/*:refs/remotes/origin/*' '+refs/tags/*:refs/tags/*' || stop
    found=$ref
  else
    # Nor need it know of shallow copies.
    [ "$(reason)" != ref ] && [ ${#shallow[@]} -gt 0 ] && fetch origin "$wanted" || stop
  fi
fi
commit=$(run_git rev-parse -q --verify "$found^{commit}") || stop ref
branch=
[ $found != FETCH_HEAD ] || ! grep -qF "branch '$ref' of " "$target/.git/FETCH_HEAD" || branch=$ref
if [ -n "$branch" ]; then run_git checkout -q -B "$branch" "$commit"; else run_git checkout -q --detach "$commit"; fi || stop checkout
if [ -e "$target/.gitmodules" ]; then
  update=(submodule --quiet update --init --recursive)
  run_git "${update[@]}" "${shallow[@]}" || run_git "${update[@]}" || stop submodule
fi
# Of a run that is verified: what it has committed, then the rest.
if [ -e "$launch/changes.mbox" ]; then
  run_git -c user.name=TaskHub -c user.email=taskhub@localhost am -q --keep-cr "$launch/changes.mbox" || stop changes
fi
if [ -e "$launch/changes.patch" ]; then
  run_git apply --whitespace=nowarn "$launch/changes.patch" || stop changes
fi
rm -rf "$home"
echo "$commit" >&$said
