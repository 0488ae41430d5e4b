# shellcheck shell=bash
# Before every script: git ignores the system's and the user's configuration, and variables that lead it elsewhere.
for name in ${!GIT_@}; do unset "$name"; done
export LC_ALL=C GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null GIT_ATTR_NOSYSTEM=1 GIT_NO_REPLACE_OBJECTS=1
