"""What stands in for `adb` on PATH: the parts of its command line that are used, on this machine.

    adb [-s SERIAL] shell [-T] WORD …
    adb devices

It reads the devices from the file named by ADB_STAND_IN: `SERIAL<tab>STATE` lines, STATE as `adb devices` shows it, or
`old` for one that has no shell protocol. As adb does, it joins the words with blanks and hands them to a shell, passes
standard input, output and error, and gives back the exit status; the command is told by SIGHUP when the client goes.
"""

import ctypes
import os
import signal
import sys

UNAUTHORIZED = """error: device unauthorized.
This adb server's $ADB_VENDOR_KEYS is not set
Try 'adb kill-server' if that seems wrong.
Otherwise check for a confirmation dialog on your device."""
PR_SET_PDEATHSIG = 1


def fail(text):
    print(text, file=sys.stderr)
    sys.exit(1)


def chosen(devices, serial):
    if serial is not None:
        if serial not in devices:
            fail(f"error: device '{serial}' not found")
        return devices[serial]
    if not devices:
        fail("error: no devices/emulators found")
    if len(devices) > 1:
        fail("error: more than one device/emulator")
    return next(iter(devices.values()))


def shell(words):
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGHUP)
        if os.getppid() != parent:
            os._exit(129)
        os.setsid()  # a device's processes know nothing of those here
        os.execv("/bin/sh", ["sh", "-c", " ".join(words)])
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    sys.exit(128 - code if code < 0 else code)


def main(words):
    with open(os.environ["ADB_STAND_IN"], encoding="utf-8") as file:
        devices = dict(line.split() for line in file)
    serial = None
    if words[0] == "-s":
        serial, words = words[1], words[2:]
    if words == ["devices"]:
        print("List of devices attached")
        for name, state in devices.items():
            print(f"{name}\t{'device' if state == 'old' else state}")
        return
    assert words[0] == "shell", words
    state = chosen(devices, serial)
    if state == "unauthorized":
        fail(UNAUTHORIZED)
    if state == "offline":
        fail("error: device offline")
    if words[1] == "-T":
        if state == "old":
            fail("error: target doesn't support PTY args -Tt")
        words = words[1:]
    shell(words[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
