# Runs an environment's prepare in HOME, unless this sandbox, or the snapshot that it was made from, is prepared already.
#
# Arguments: the folder with `prepare` and, in `prepare.env`, its variables; the mark of what is prepared; the file that
# has the marks of all that was.
folder=$1 mark=$2 marks=$3
variables=$(<"$folder/prepare.env")
rm -f "$folder/prepare.env"
while read -r known; do
  [ "$known" != "$mark" ] || exit 0
done 2>/dev/null <"$marks"
echo "[TaskHub: prepare]"
(
  set -- "$folder/prepare"
  # From here on every variable may be its own.
  eval "$variables"
  cd && exec /bin/bash "$1"
)
code=$?
[ $code -ne 0 ] || echo "$mark" >>"$marks" || code=126
exit $code
