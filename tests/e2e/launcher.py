"""Runs a command in a session of its own and ends only when nothing that descends from it lives any more.

`python launcher.py OUT ERR COMMAND…` starts it with those two descriptors as its output and prints its process id. The
exit code is the command's (128 + N for signal N). Standard library only: this starts with every run.
"""

import ctypes
import os
import signal
import sys

_PR_SET_CHILD_SUBREAPER = 36

ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # orphans become our children
out, err = (int(number) for number in sys.argv[1:3])
moves = [(os.POSIX_SPAWN_DUP2, out, 1), (os.POSIX_SPAWN_DUP2, err, 2)]
command = os.posix_spawnp(
    sys.argv[3], sys.argv[3:], os.environ, file_actions=moves, setsid=True, setsigdef=[signal.SIGINT, signal.SIGTERM]
)
print(command, flush=True)
for number in {out, err}:
    os.close(number)
code = 0
while True:
    try:
        pid, status = os.wait()
    except ChildProcessError:
        break
    if pid == command:
        ended = os.waitstatus_to_exitcode(status)
        code = ended if ended >= 0 else 128 - ended
os._exit(code)
