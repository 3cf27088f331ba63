"""Run by `process.py` as a script: tie the server to its parent's life, then become the server.

A script of its own, and not a `preexec_fn`, because that would run Python between fork and exec of a process
with threads (librdkafka's, gRPC's), which can deadlock.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main() -> None:
    """`launcher.py PARENT_PID DEATH_SIGNAL USER PROGRAM [ARGUMENT ...]`; USER is uid:gid, or - to stay who we are."""
    parent, death_signal, user, argv = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4:]
    if user != "-":  # here and not in Popen: that user need not be able to run our Python
        uid, gid = map(int, user.split(":"))
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    # after setuid, which clears it
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
    if os.getppid() != parent:  # it died before prctl: nobody would ever end us
        os.kill(os.getpid(), signal.SIGKILL)
    os.execv(argv[0], argv)  # noqa: S606 - the command line is ours


if __name__ == "__main__":
    main()
