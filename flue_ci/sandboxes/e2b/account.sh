#!/bin/bash
# Before anything else runs: what the machine says of its ordinary user, one value a line.
sudo=no
if [ "$EUID" = 0 ] || sudo -n true; then sudo=yes; fi </dev/null >/dev/null 2>&1
printf '\n%s\n%s\n%s\n%s\n' "$HOME" "$(id -un)" "$sudo" "$PATH"
