#!/bin/bash
# As root: ends every process of the ordinary user, whatever session or group it is in, and makes sure that none is
# left. Prints `quiet`, or a word for what is in the way. Assigned in front: flue_home (the
# directory of that user) and flue_sandbox (its id).
#
# A server that imitates E2B may run on somebody's own machine, whose processes must live. So this happens only where
# the machine is a sandbox: E2B's daemon wrote this sandbox's id down there; or the daemon that started this has its name
# and nothing but the first process above it; or, in a process namespace of its own, one of the two. Nobody is logged in.
# shellcheck disable=SC2154 # the variables come before the script
PATH=/usr/sbin:/usr/bin:/sbin:/bin
flue_is_sandbox() {
  local id='' pid=$PPID name key above=() signs=0
  { read -r id </run/e2b/.E2B_SANDBOX_ID; } 2>/dev/null
  [ "$id" != "${flue_sandbox:-none}" ] || return 0
  while [ "$pid" -gt 0 ]; do
    read -r name <"/proc/$pid/comm" && above+=("$name")
    while read -r key pid && [ "$key" != PPid: ]; do :; done <"/proc/$pid/status" || break
  done 2>/dev/null
  above=("${above[@]:2}") # without the `timeout` and the shell around this command
  [ "${#above[@]}" -gt 2 ] || signs=1
  case " ${above[*]} " in *' envd '* | *' envd.'*) signs=$((signs + 1)) ;; esac
  # 4026531836 is the number of the namespace that a machine starts with. Nobody is logged in at a sandbox.
  [ "$(readlink /proc/self/ns/pid)" = 'pid:[4026531836]' ] || signs=$((signs + 1))
  [ "$signs" -ge 2 ] && [ ! -d "/run/user/$flue_uid" ]
}
flue_left() { # the living ones, by a file that their owner cannot hide or change
  local files
  files=$(grep -lsE "^Uid:([[:space:]]+[0-9]+)*[[:space:]]+$flue_uid([[:space:]]|\$)" /proc/[0-9]*/status)
  # shellcheck disable=SC2086 # names without blanks
  [ -z "$files" ] || grep -LsE '^State:[[:space:]]+[ZX]' $files
}
[ "$EUID" = 0 ] || { echo unprivileged; exit 0; }
flue_uid=$(stat -c %u -- "$flue_home") || exit 1
[ "$flue_uid" != 0 ] || { echo root; exit 0; }
flue_is_sandbox || { echo foreign; exit 0; }
if type -P setpriv >/dev/null; then
  flue_as_user=(setpriv --reuid "$flue_uid" --regid 65534 --clear-groups --)
elif type -P runuser >/dev/null; then
  flue_as_user=(runuser -u "$(id -un -- "$flue_uid")" --)
else
  echo unable
  exit 0
fi
ulimit -u unlimited 2>/dev/null
flue_quiet=0
for ((flue_round = 0; flue_round < 40 && flue_quiet < 2; flue_round += 1)); do
  [ "$flue_round" = 0 ] || sleep 0.05
  # One system call for all, from which nothing can fork away; a look alone may miss what forks and ends all the time.
  "${flue_as_user[@]}" /bin/bash --noprofile --norc -c 'kill -KILL -1'
  flue_quiet=$((flue_quiet + 1))
  [ -z "$(flue_left)" ] || flue_quiet=0
done 2>/dev/null
if [ "$flue_quiet" = 2 ]; then echo quiet; else echo "left $(flue_left | wc -l)"; fi
