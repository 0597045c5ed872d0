"""Waits until the process at the other end of the pipe is gone, and ends what it has left running.

Run by `guard` as `python -I -S guard_main.py NAME PACKAGES`, with the pipe as its standard input. Imports nothing of
this package, so that it starts at once.
"""

import os
import sys
import time

FAMILY = "TFLITE_RECIPES_FAMILY"
# Rounds of looking for processes: one that is just being started may be missed in the first.
_ROUNDS = 5
_PAUSE_S = 0.3


def main(name: str, packages: str) -> None:
    """Wait, and end the processes that have the name in their environment."""
    if os.read(0, 1):
        return  # the process has ended by itself, and has put away what it started
    sys.path.append(packages)
    import psutil

    for _ in range(_ROUNDS):
        for process in psutil.process_iter():
            try:
                if _belongs(process.environ().get(FAMILY, ""), name) and not _tidies_up(process.cmdline()):
                    process.kill()
            except (psutil.Error, OSError):
                continue
        time.sleep(_PAUSE_S)


def _belongs(family: str, name: str) -> bool:
    return name in family.split(":")


def _tidies_up(command: list[str]) -> bool:
    """Whether a process removes what others have left, and ends by itself then."""
    return "resource_tracker" in " ".join(command)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
