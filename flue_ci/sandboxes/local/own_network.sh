#!/bin/bash
# Runs as the first program of a new network namespace, with the right to change it. $1: routes for `ip -batch`; then
# the command that goes on without that right.
set -e
printf '%s' "$1" | ip -batch -
shift
exec setpriv --ambient-caps=-all --inh-caps=-all "$@"
