#!/bin/bash
# Answers git's questions for a user name and a password, from the file that is open as $TASKHUB_KEY: a user name, a
# token, and the hosts that they are for, a line each. Any other host gets nothing.
{
  IFS= read -r user
  IFS= read -r token
  mapfile -t hosts
} <"/proc/self/fd/$TASKHUB_KEY" || exit 1
address=${1#*\'}
address=${address%\'*}
scheme=${address%%://*}
host=${address#*://}
host=${host%%/*}
host=${host##*@}
[ "$scheme" = https ] || [ "$scheme" = "$TASKHUB_SCHEME" ] || exit 1
for each in "${hosts[@]}"; do
  [ "${host,,}" = "$each" ] || continue
  case $1 in
    Username*) printf '%s\n' "$user" ;;
    Password*) printf '%s\n' "$token" ;;
    *) exit 1 ;;
  esac
  exit 0
done
exit 1
