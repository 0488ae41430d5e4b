#!/bin/bash
# Ends a command with its children. `command.sh` passes SIGTERM on; the rest is for when it cannot.
# Assigned in front: flue_pid (of the script), flue_group (of the command) and flue_file (its text), or empty.
# shellcheck disable=SC2154 # the variables come before the script
kill -TERM "$flue_pid"
sleep 0.5
[ -z "$flue_group" ] || kill -KILL -- "-$flue_group"
kill -KILL "$flue_pid"
[ -z "$flue_file" ] || rm -f -- "$flue_file"
