#!/bin/bash
# As root: the exit code that command.sh wrote down for a command whose end was not seen. Assigned in front:
# flue_status_name, which is unpredictable.
# shellcheck disable=SC2154 # the variables come before the script
printf '\nstatus %s\n' "$(cat -- "$HOME/.flue-ci-status/$flue_status_name")"
