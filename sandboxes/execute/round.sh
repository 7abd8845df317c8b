# Ends an execution without its runner, from a fresh process: by the marks in the environments of its processes.
# Above this line stands its id.
marked() { grep -lzsFx "$1=$execution" /proc/[0-9]*/environ | sed 's/[^0-9]//g'; }

# Stopped until there are no new ones, so that none forks meanwhile; then killed.
end() {
  local pids known=
  for _ in {1..30}; do
    pids=$(marked "$1")
    [ -n "$pids" ] || return
    if [ "$pids" = "$known" ]; then kill -KILL $pids; else kill -STOP $pids; fi
    known=$pids
  done
}

exec 2>/dev/null
end TASKHUB_EXECUTION
# A runner that was stopped, and a session that was, may go on: they have something to say.
runner=$(marked TASKHUB_RUNNER)
for pid in $runner; do
  stat=$(<"/proc/$pid/stat")
  set -- ${stat##*) }
  case "$2" in '' | 0 | 1) continue ;; esac
  kill -CONT "$2" $(grep -lE "^PPid:[[:space:]]*$2\$" /proc/[0-9]*/status | sed 's/[^0-9]//g')
done
kill -CONT $runner
for _ in {1..20}; do
  [ -n "$(marked TASKHUB_RUNNER)" ] || break
  sleep 0.05
done
end TASKHUB_RUNNER
