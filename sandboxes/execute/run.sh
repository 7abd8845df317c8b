# Runs the script once, in a folder and a process group of its own. Above this line stand the settings of this run.
#
# Arguments: the descriptor to which attend.pl listens, and the one of the environment, whose file it has deleted. Without
# perl there are none, and this prints the end mark itself.
note=$1 given=$2
dir=$PWD/.taskhub/$session
work=$PWD/taskhub/$session
launch=$PWD/$launch
exec {out}>&1 {err}>&2 </dev/null >/dev/null 2>&1  # what bash itself says of ended jobs is not the script's
if [ -n "$given" ]; then
  mapfile -d '' -t exports <&"$given"
  exec {given}<&-
else
  mapfile -d '' -t exports <"$launch/env.sh"
  rm -f "$launch/env.sh"
fi
read -r _ end_token run_token _ <<<"${exports%%$'\n'*}"
# Also of other tries to start it, which have folders of their own.
drop_credentials() { rm -f "$dir"/*/credential; }
key=
if [ -e "$launch/credential" ]; then
  exec {key}<"$launch/credential"
  drop_credentials
fi
if [ -z "$note" ]; then
  mkdir "$dir/started" || exit "$twice"
  exec {lock}>>"$dir/lock"
  flock -n $lock
  mkdir -p "$work"
fi
# A signal for the runner is not the end of the script, which gets its own by its group. Not ignored: that is inherited.
trap : TERM INT HUP QUIT USR1 USR2 ALRM

# Whether the interpreter that a first line names is there: its path, and for `env` the program that it looks for.
found() {
  [ -f "$1" ] && [ -x "$1" ] || return
  [ "${1##*/}" = env ] || return 0
  local IFS=$' \t' word
  for word in $2; do
    case $word in
      -* | *=*) ;;
      *) type -P -- "$word" && return; return 1 ;;
    esac
  done
}

skipped=() newer=()
for name in "${skip[@]}"; do skipped+=(-o -name "$name"); done
# Lines of modification time, size and path of what is in a folder; a path with control characters is not named.
list() {
  timeout 10 find "$@" -ignore_readdir_race -mindepth 1 \
    \( -name '*[[:cntrl:]]*' -o -type d \( -false "${skipped[@]}" \) \) -prune \
    -o -type f "${newer[@]}" -printf '%T@ %s %P\n' \
    | head -n $((files_most + 1))
  # 124 and above: it did not come to its end.
  [ "${PIPESTATUS[0]}" -lt 124 ]
}

# What is there before the script is no change: given files, a checkout, what the setup made. $dir/given has it as a look
# lists it.
: >"$dir/seen"
: >"$dir/given"
give() {
  [ -d "$launch/files" ] || return 0
  cp -R "$launch/files/." "$work" || return
  rm -rf "$launch/files"
}
note_given() {
  list "$work" | LC_ALL=C sort >"$dir/seen"
  cp "$dir/seen" "$dir/given"
}
unfit=
if [ -z "$prepares" ] && [ -d "$launch/files" ]; then
  give && note_given || unfit=yes
fi

# Prepare, checkout and setup, in the script's process group. $dir/phase says what has failed where it does not come to
# its end; with $dir/begun the script has begun.
prepare() {
  if [ -e "$launch/prepare" ]; then
    echo prepare >"$dir/phase"
    run_prepare || exit
  fi
  if [ -n "$checks_out" ]; then
    echo checkout >"$dir/phase"
    echo "[TaskHub: checkout]"
    commit=$(exec {said}>&1 1>&2; . "$launch/checkout.sh") || exit
    [ -z "$key" ] || exec {key}<&-
    drop_credentials
    printf '\e_%sC%s\e\\\n' "$run_token" "$commit"
    echo "$commit" >"$dir/commit"
  fi
  echo given >"$dir/phase"
  give || exit 126
  echo setup >"$dir/phase"
  if [ -e "$launch/setup" ]; then
    echo "[TaskHub: setup]"
    run_setup || exit
  fi
  note_given
  [ -z "$locks" ] || wait_for_lock
  touch -d "@$((EPOCHSECONDS - 1))" "$dir/since"
  : >"$dir/begun"
  # Each ends a line that the setup has left unfinished.
  printf '\e_%sS%s\e\\\n' "$run_token" "$EPOCHSECONDS" >&2
  printf '\e_%sS%s\e\\\n' "$run_token" "$EPOCHSECONDS"
  echo "[TaskHub: script]"
}

# Until the network is closed. Only the hub, which has closed it, can write this file: the token is in no mark before the
# end.
wait_for_lock() {
  local wanted said=
  read -r wanted _ < <(printf %s "$end_token" | sha256sum)
  printf '\e_%sL\e\\\n' "$run_token"
  while [ "$said" != "$wanted" ]; do
    sleep 0.1
    read -r said <"$dir/go"
  done 2>/dev/null
}

# The credential is for the checkout alone.
run_prepare() (
  [ -z "$key" ] || exec {key}<&-
  exec /bin/bash "$launch/prepare.sh" "$launch" "$prepared" "${dir%/*}/prepared"
)

run_setup() {
  local shown code
  exec {shown}>&2 2>/dev/null  # what bash itself says of a setup that was killed
  (
    exec 2>&$shown {shown}>&-
    set -- "$launch/setup"
    eval "$exports"
    exec /bin/bash "$1"
  )
  code=$?
  exec 2>&$shown {shown}>&-
  return $code
}

read -r first <"$launch/script"
interpreter=/bin/bash argument=
if [[ $first == '#!'* ]]; then
  read -r named argument <<<"${first#'#!'}"
  [ -z "$named" ] || interpreter=$named
fi

set -m
(
  set +m
  trap - TERM INT HUP QUIT USR1 USR2 ALRM
  exec >&$out 2>&$err
  [ -z "$merge" ] || exec 2>&1
  exec {out}>&- {err}>&-
  [ -z "$note" ] || exec {note}>&-
  [ -z "$lock" ] || exec {lock}>&-
  unset TASKHUB_RUNNER
  cd "$work" || exit
  [ -z "$prepares" ] || prepare
  [ -z "$unfit" ] || { echo "TaskHub: the given files could not be copied into the working folder." >&2; exit 126; }
  set -- "$dir/missing" "$interpreter" "$argument" "$launch/script"
  # From here on every variable may be the script's.
  eval "$exports"
  found "$2" "$3" >/dev/null || { : >"$1"; exit 127; }
  exec "$2" ${3:+"$3"} "$4"
) &
script=$!
[ -z "$key" ] || exec {key}<&-

(
  set +m
  exec {out}>&- {err}>&-
  [ -z "$note" ] || exec {note}>&-
  [ -z "$lock" ] || exec {lock}>&-
  mkfifo "$dir/new" && mv "$dir/new" "$dir/control" && exec <>"$dir/control" || exit
  while read -r name; do kill -"$name" -- -$script; done
) &
listener=$!
set +m  # or a script that is stopped would end the wait

look() {
  list "$work" >"$dir/found" && [ "$(wc -l <"$dir/found")" -le "$files_most" ] || return
  sort "$dir/found" >"$dir/now"
  cmp -s "$dir/seen" "$dir/now" && return
  comm -3 "$dir/seen" "$dir/now" | awk -v n="$changes" -v longest="$path_bytes" "$differences" >"$dir/fresh"
  cat "$dir/changes" "$dir/fresh" | tail -n "$changes_kept" >"$dir/changes.new"
  if [ -s "$dir/fresh" ]; then
    read -r changes _ < <(tail -n 1 "$dir/fresh")
    mv "$dir/changes.new" "$dir/changes"
    tell_change
  fi
  cp "$dir/now" "$dir/seen"
}

tell_change() {
  if [ -n "$note" ]; then echo "F $changes" >&$note; else printf '\e_%sF%s\e\\\n' "$run_token" "$changes" >&$out; fi
}

# At the end: how many files there are, the number of the last change and, of a checkout, the sizes of the two files of
# changes; the last modified files, those in out/ as the very last; an empty line; the last changes.
# A given file that is as it was is no artifact, and none that is as the commit has it.
own() {
  if [ -s "$dir/given" ]; then grep -vxFf "$dir/given"; else cat; fi | awk '
    !known { same[$0]; next } { path = $0; sub(/^[^ ]* [^ ]* /, "", path) } !(path in same)' "$dir/same" known=1 -
}
kept() { if [ -n "$keep" ]; then grep -E "^[^ ]* [^ ]* ($keep)\$"; else cat; fi; }

in_repository() {
  timeout 10 git -C "$work/$path" -c core.fsmonitor=false -c diff.context=3 -c diff.relative=false \
    -c format.coverLetter=false -c format.useAutoBase=false "$@" 2>/dev/null
}

# What the script has committed, what else it has changed of the tracked files, and which of these it has not.
bundle() {
  local commit head base plain
  # Whatever the script has configured, `git am` and `git apply` must take it.
  plain=(--binary --full-index --no-color --no-ext-diff --no-textconv --src-prefix=a/ --dst-prefix=b/)
  plain+=(--submodule=short --ignore-submodules=dirty)
  read -r commit <"$dir/commit"
  head=$(in_repository rev-parse -q --verify 'HEAD^{commit}') || { : >"$dir/changes.patch.cut"; return; }
  base=$head
  if [ "$head" != "$commit" ]; then
    if in_repository merge-base --is-ancestor "$commit" "$head" \
      && [ -z "$(in_repository rev-list --merges -n 1 "$commit..$head")" ]; then
      in_repository format-patch --stdout "${plain[@]}" "$commit..$head" >"$dir/changes.mbox" \
        || : >"$dir/changes.mbox.cut"
    else
      base=$commit  # no line of mails leads from one to the other: all of it in one patch
    fi
  fi
  in_repository diff "${plain[@]}" "$base" >"$dir/changes.patch" || : >"$dir/changes.patch.cut"
  # Where that is not known, nothing is said to be as the commit has it.
  in_repository diff --name-only -z --no-ext-diff --no-textconv "$commit" >"$dir/differ" || return
  comm -23 <(in_repository ls-tree -r -z --name-only "$commit" | tr '\0' '\n' | sort) \
    <(tr '\0' '\n' <"$dir/differ" | sort) \
    | prefix=${path:+$path/} awk '{ print ENVIRON["prefix"] $0 }' >"$dir/same"
}

# One that was cut is larger than any limit: it is left out, and the work cannot be verified.
size_of() {
  if [ -e "$1.cut" ]; then echo 999999999999999999; elif [ -s "$1" ]; then wc -c <"$1"; else echo 0; fi
}

conclude() {
  : >"$dir/same"
  rm -f "$dir"/changes.mbox* "$dir"/changes.patch*
  [ -z "$checks_out" ] || bundle
  # Of a checkout, only what has been changed since: it may have more files than are listed.
  [ -z "$prepares" ] || newer=(-cnewer "$dir/since")
  cd "$work" || return
  list . -path ./out -type d -prune -o -true | sort | own | kept >"$dir/rest"
  # A folder that was moved here has the times that it had.
  newer=()
  [ ! -d out ] || list out | sed 's/^\([^ ]* [^ ]* \)/\1out\//' | sort | own >"$dir/results"
  if [ -n "$prepares$keep" ]; then
    total=$(cat "$dir/rest" "$dir/results" | wc -l)
  else
    total=$(timeout 10 find . -mindepth 1 -type f -printf x | wc -c)
    total=$((total - $(comm -12 "$dir/given" "$dir/seen" | wc -l)))
  fi
  {
    echo "$total $changes${checks_out:+ $(size_of "$dir/changes.mbox") $(size_of "$dir/changes.patch")}"
    tail -n "$artifacts_kept" "$dir/rest"
    [ ! -e "$dir/results" ] || tail -n "$artifacts_kept" "$dir/results"
    echo
    cat "$dir/changes"
  } >"$dir/artifacts.new"
  mv "$dir/artifacts.new" "$dir/artifacts"
}

has_files() {
  local entry
  for entry in "$work"/* "$work"/.[!.]* "$work"/..?*; do [ -e "$entry" ] || [ -L "$entry" ] && return; done
  return 1
}

watch() {
  export LC_ALL=C
  exec {err}>&-
  [ -z "$note" ] || exec {out}>&-
  [ -z "$lock" ] || exec {lock}>&-
  : >"$dir/changes"
  pause=1 changes=0
  # A pause is over at its time; the script, when the input is.
  while read -r -t $pause; [ $? -gt 128 ]; do
    [ -z "$prepares" ] || [ -e "$dir/begun" ] || continue
    [ "$changes" -gt 0 ] || has_files || continue
    begun=${EPOCHREALTIME/[.,]/}
    look
    took=$((${EPOCHREALTIME/[.,]/} - begun))  # microseconds
    pause=$((took > 100000 ? took / 100000 : 1))
  done
  [ -z "$prepares" ] || [ -e "$dir/begun" ] || return
  if [ "$changes" -gt 0 ] || [ -n "$checks_out" ] || has_files; then
    look
    conclude
  fi
}
# What the script does not hold open: it was started before.
exec {running}> >(watch)
watcher=$!

# A signal that was caught ends `wait`, too.
while wait $script; code=$?; kill -0 $script; do :; done
kill -KILL -- -$script
grep -lzsFx "TASKHUB_EXECUTION=$execution" /proc/[0-9]*/environ | while IFS=/ read -r _ _ pid _; do
  kill -KILL "$pid"
done
exec {running}>&-
wait $watcher
kill -KILL -- -$listener
wait $listener
why=-
[ ! -e "$dir/missing" ] || [ $code -ne 127 ] || why=interpreter
if [ -n "$prepares" ] && [ ! -e "$dir/begun" ]; then
  read -r why <"$dir/phase"
  case $why in *[!a-z]* | '') why=setup ;; esac
fi
total=0 changes=0
[ ! -e "$dir/artifacts" ] || read -r total changes _ <"$dir/artifacts"
if [ -n "$note" ]; then
  echo "E $code $changes $total $why" >&$note
else
  printf '\e_%sE%s %s %s %s\e\\\n' "$end_token" $code "$changes" "$total" $why >&$err
  printf '\e_%sE%s %s %s %s\e\\\n' "$end_token" $code "$changes" "$total" $why >&$out
fi
exit $code
