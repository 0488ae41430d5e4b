# shellcheck shell=bash
# Before every script of root's: the system's programs only, and a git that cannot start another one or any program.
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:$PATH
git_program=$(type -P git) || git_program=git
git() { PATH=/nonexistent GIT_EXEC_PATH=/nonexistent "$git_program" "$@"; }
