"""Measuring on another device: over ssh or adb, in a folder of its own there that is gone afterwards.

There is one protocol, whatever carries it: the program `supervisor` is sent to the device's Python on standard input,
files follow, and progress and results come back on standard output (`channel`). `ssh` and `adb` say which command
carries it and what its failures mean.
"""
