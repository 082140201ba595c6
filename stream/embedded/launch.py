"""Start a program that dies with its parent: launch.py PARENT SIGNAL UID GID PROGRAM ARGUMENT...

Run as a script between fork and exec, by file name and with the standard library only, because the
usual place for this, `preexec_fn`, is unsafe as soon as the parent has threads. Order matters: a
change of user clears the death signal (prctl(2), PR_SET_PDEATHSIG), so the user comes first.
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1


def main(parent: int, death_signal: int, uid: int, gid: int, command: list[str]) -> None:
    if uid != os.geteuid():
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, death_signal)
    if os.getppid() != parent:  # it died before the signal was armed
        sys.exit(1)
    os.execv(command[0], command)  # noqa: S606 - replacing this process is the whole purpose


if __name__ == "__main__":
    maker, wanted_signal, user, group = (int(number) for number in sys.argv[1:5])
    main(maker, wanted_signal, user, group, sys.argv[5:])
