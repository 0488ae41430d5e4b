# shellcheck shell=bash
# Before every script of root's: the system's programs first (templates of E2B let everybody write to /usr/local), and a
# git that cannot start another one or any program.
PATH=/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin
git_program=$(type -P git) || git_program=git
git() { PATH=/nonexistent GIT_EXEC_PATH=/nonexistent "$git_program" "$@"; }
