#!/bin/bash
# Around one command. E2B kills only the leader at a deadline, and keeps a command's stream open as long as any child
# holds its output. So the command runs under `timeout`, which makes a process group of its own, and writes both streams
# to standard output, which keeps their order; standard error is left to this script, which reports there.
# (Not by bash's job control: its `wait -f` was seen to spin for ever, once in some hundred commands.)
# Assigned in front: flue_cwd (empty: the home), flue_token, flue_seconds, flue_whole_seconds, flue_kill_after,
# flue_command.
# shellcheck disable=SC2154,SC2317 # the variables come before the script, the functions run by name
cd -- "${flue_cwd:-$HOME}" 2>/dev/null || {
  [ -d "${flue_cwd:-$HOME}" ] && flue_problem=denied || flue_problem=missing
  printf '\n%s %s\n' "$flue_token" "$flue_problem" >&2
  exit 1
}
flue_group=
flue_end() {
  [ -z "$flue_group" ] || { kill -TERM -- "-$flue_group"; sleep 0.3; kill -KILL -- "-$flue_group"; } 2>/dev/null
  exit 143
}
trap flue_end TERM
(
  trap - INT QUIT
  exec timeout -k "$flue_kill_after" "$flue_seconds" /bin/bash -l -c "$flue_command"
) </dev/null 2>&1 &
flue_group=$!
printf '\n%s start %s\n' "$flue_token" "$flue_group" >&2
wait "$flue_group"
flue_status=$?
if [ "$flue_status" = 124 ] && [ "$SECONDS" -ge "$flue_whole_seconds" ]; then
  flue_tries=$((10 * flue_kill_after))
  while kill -0 -- "-$flue_group" && [ $((flue_tries -= 1)) -gt 0 ]; do sleep 0.1; done
  kill -KILL -- "-$flue_group"
fi 2>/dev/null
printf '\n%s exit %s\n' "$flue_token" "$flue_status" >&2
exit "$flue_status"
