"""The folder where the package keeps small files of this user that belong to no output folder."""

from __future__ import annotations

import os
from pathlib import Path


def state_folder(name: str) -> Path | None:
    """Return a folder of this user, `$XDG_STATE_HOME/tflite_recipes/NAME`, made if it is missing.

    `$XDG_STATE_HOME` is `~/.local/state` by default. None if the folder cannot be made, or belongs to somebody else.
    """
    home = os.environ.get("XDG_STATE_HOME", "")
    base = Path(home) if os.path.isabs(home) else Path(os.path.expanduser("~"), ".local", "state")
    folder = base / "tflite_recipes" / name
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        usable = folder.stat().st_uid == os.getuid() and os.access(folder, os.W_OK)
    except OSError:
        return None
    return folder if usable and folder.is_absolute() else None
