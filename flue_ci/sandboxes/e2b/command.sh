#!/bin/bash
# Around one command. E2B kills only the leader at a deadline, and reports the end of a process only when nobody holds
# its output any more. So the command runs under `timeout`, which makes a process group of its own, and writes both
# streams into a relay: when the command has ended but a process in its background goes on, the relay is replaced by one
# that reads on and shows nothing, and this script ends, with the command's exit code. Reports go to standard error,
# which only this script has. (Not by bash's job control: its `wait -f` was seen to spin for ever, once in some hundred
# commands.)
# Assigned in front: flue_cwd (empty: the home), flue_seconds, flue_whole_seconds, flue_kill_after, flue_file (of the
# command's text, or empty), flue_mark (a file that only the first start of this command can make), flue_command. For a command apart from the user's start-up files, where this script runs as
# root: flue_account (the name to run as; else empty), flue_home, flue_path (PATH), flue_status_name (of the file in
# root's home that gets the exit code). In the environment: flue_token and, for such a command, its variables as
# flue_env_NAME; nobody else can read them there.
# shellcheck disable=SC2154,SC2317 # the variables come before the script, the functions run by name
export -n flue_token
flue_report() { printf '\n%s %s\n' "$flue_token" "$*" >&2; }
set -C
{ : >"$flue_mark"; } 2>/dev/null || [ ! -e "$flue_mark" ] || { flue_report repeated; exit 1; }
set +C
cd -- "${flue_cwd:-$HOME}" 2>/dev/null || {
  if [ -d "${flue_cwd:-$HOME}" ]; then flue_report denied; else flue_report missing; fi
  exit 1
}
flue_run=(/bin/bash -l -c "$flue_command")
if [ -n "$flue_account" ]; then
  PATH=/usr/sbin:/usr/bin:/sbin:/bin
  flue_group_id=$(id -g -- "$flue_account") || { flue_report unable; exit 1; }
  if [ "$EUID" != 0 ]; then
    flue_report unable
    exit 1
  elif type -P setpriv >/dev/null; then
    flue_drop=(setpriv --reuid "$flue_account" --regid "$flue_group_id" --init-groups --)
  elif type -P runuser >/dev/null; then
    flue_drop=(runuser -u "$flue_account" --)
  elif type -P su >/dev/null; then
    flue_drop=(su -s /usr/bin/env "$flue_account" --)
  else
    flue_report unable
    exit 1
  fi
  flue_variables=(HOME="$flue_home" USER="$flue_account" LOGNAME="$flue_account" SHELL=/bin/bash)
  flue_variables+=(PATH="$flue_path" LANG="${LANG:-C.UTF-8}")
  for flue_name in "${!flue_env_@}"; do flue_variables+=("${flue_name#flue_env_}=${!flue_name}"); done
  # A program that the user cannot read is one that the kernel lets the user's other programs not trace: what the check
  # starts cannot make its shell end with another code.
  flue_shell=/usr/lib/flue-ci/bash
  [ -x "$flue_shell" ] || {
    mkdir -p -- "${flue_shell%/*}" && install -m 0711 -- /bin/bash "$flue_shell.new" && mv -f -- "$flue_shell.new" "$flue_shell"
  } 2>/dev/null || flue_shell=/bin/bash
  flue_run=("${flue_drop[@]}" /usr/bin/env -i "${flue_variables[@]}" "$flue_shell" --noprofile --norc -c "$flue_command")
fi
flue_group=
flue_end() { # perhaps when the command was started and its number not noted yet, or before it had its group
  flue_group=${flue_group:-$!}
  if [ -n "$flue_group" ]; then
    kill -TERM -- "-$flue_group" "$flue_group"
    sleep 0.3
    kill -KILL -- "-$flue_group" "$flue_group"
  fi 2>/dev/null
  exit 143
}
trap flue_end TERM
exec 3>&1
coproc flue_pipe { exec cat 4>&1 >&3 2>/dev/null 3>&-; }
flue_relay=$flue_pipe_PID
flue_write=${flue_pipe[1]} flue_read=${flue_pipe[0]}
exec 5>&"$flue_write" 6<&"$flue_read"
exec {flue_write}>&- {flue_read}<&-
[ -z "$flue_account" ] || chown -- "$flue_account" "/proc/$$/fd/5" 2>/dev/null # which may be opened as /dev/stderr
(
  trap - INT QUIT
  exec timeout -k "$flue_kill_after" "$flue_seconds" "${flue_run[@]}" 3>&- 6<&-
) </dev/null >&5 2>&1 5>&- &
flue_group=$!
exec 5>&-
flue_report start "$flue_group"
wait "$flue_group"
flue_status=$?
if [ "$flue_status" = 124 ] && [ "$SECONDS" -ge "$flue_whole_seconds" ]; then
  flue_tries=$((10 * flue_kill_after))
  while kill -0 -- "-$flue_group" && [ $((flue_tries -= 1)) -gt 0 ]; do sleep 0.1; done
  kill -KILL -- "-$flue_group"
fi 2>/dev/null
flue_quiet=0
for ((flue_round = 0; flue_round < 30 && flue_quiet < 3; flue_round += 1)); do
  read -r -t 0.1 -u 6 # which ends with the relay, and that when nobody can write any more
  [ "$?" -gt 128 ] || break
  [ "$flue_round" -gt 0 ] || exec 7<"/proc/$flue_relay/fd/0"
  if read -r -t 0 -u 7; then flue_quiet=0; else flue_quiet=$((flue_quiet + 1)); fi
done 2>/dev/null
if kill -0 "$flue_relay" 2>/dev/null && [ "$flue_round" -gt 0 ]; then
  (exec cat >/dev/null) <&7 >/dev/null 2>&1 3>&- 6<&- 7<&- &
  kill -KILL "$flue_relay"
fi 2>/dev/null
if [ -n "$flue_account" ]; then
  [ -z "$flue_file" ] || rm -f -- "$flue_file"
  umask 077
  { [ -d "$HOME/.flue-ci-status" ] || mkdir -p -- "$HOME/.flue-ci-status"; } && echo "$flue_status" >"$HOME/.flue-ci-status/$flue_status_name"
fi 2>/dev/null
flue_report exit "$flue_status"
exit "$flue_status"
