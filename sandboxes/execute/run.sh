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

skipped=()
for name in "${skip[@]}"; do skipped+=(-o -name "$name"); done
# Lines of modification time, size and path of what is in a folder; a path with control characters is not named.
list() {
  timeout 10 find "$@" -ignore_readdir_race -mindepth 1 \
    \( -name '*[[:cntrl:]]*' -o -type d \( -false "${skipped[@]}" \) \) -prune -o -type f -printf '%T@ %s %P\n' \
    | head -n $((files_most + 1))
  # 124 and above: it did not come to its end.
  [ "${PIPESTATUS[0]}" -lt 124 ]
}

# What it was given is there before the script, and is no change. $dir/given has it as a look lists it.
: >"$dir/seen"
unfit=
if [ -d "$launch/files" ]; then
  cp -R "$launch/files/." "$work" && list "$work" | LC_ALL=C sort >"$dir/seen" || unfit=yes
  rm -rf "$launch/files"
fi
cp "$dir/seen" "$dir/given"

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
  [ -z "$unfit" ] || { echo "TaskHub: the given files could not be copied into the working folder." >&2; exit 126; }
  set -- "$dir/missing" "$interpreter" "$argument" "$launch/script"
  # From here on every variable may be the script's.
  eval "$exports"
  found "$2" "$3" >/dev/null || { : >"$1"; exit 127; }
  exec "$2" ${3:+"$3"} "$4"
) &
script=$!

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

# At the end: how many files there are and the number of the last change; the last modified files, those in out/ as the
# very last; an empty line; the last changes.
# A given file that is as it was is no artifact.
own() { if [ -s "$dir/given" ]; then grep -vxFf "$dir/given"; else cat; fi; }

conclude() {
  total=$(timeout 10 find "$work" -mindepth 1 -type f -printf x | wc -c)
  total=$((total - $(comm -12 "$dir/given" "$dir/seen" | wc -l)))
  {
    echo "$total $changes"
    cd "$work" && list . -path ./out -type d -prune -o -true | sort | own | tail -n "$artifacts_kept"
    [ -d "$work/out" ] && list "$work/out" | sed 's/^\([^ ]* [^ ]* \)/\1out\//' | sort | own | tail -n "$artifacts_kept"
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
    [ "$changes" -gt 0 ] || has_files || continue
    begun=${EPOCHREALTIME/[.,]/}
    look
    took=$((${EPOCHREALTIME/[.,]/} - begun))  # microseconds
    pause=$((took > 100000 ? took / 100000 : 1))
  done
  if [ "$changes" -gt 0 ] || has_files; then
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
total=0 changes=0
[ ! -e "$dir/artifacts" ] || read -r total changes _ <"$dir/artifacts"
if [ -n "$note" ]; then
  echo "E $code $changes $total $why" >&$note
else
  printf '\e_%sE%s %s %s %s\e\\\n' "$end_token" $code "$changes" "$total" $why >&$err
  printf '\e_%sE%s %s %s %s\e\\\n' "$end_token" $code "$changes" "$total" $why >&$out
fi
exit $code
