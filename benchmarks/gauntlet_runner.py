"""Run requests of `gauntlet.py` in one process with a warm worker. Requests and answers are lines of JSON."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from tflite_recipes import api
from tflite_recipes.core.errors import ExitStatus, RequestError


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Return what a request came to, run as the command line runs it in this folder."""
    folder = Path(request["folder"])
    os.chdir(folder)
    if any(folder.glob("*.py")):
        api.begin_anew()  # two cases have modules of the same name
    try:
        result = api.run("convert", request["overrides"], output_dir=request["output"], progress=False)
    except RequestError as error:
        return {"status": int(ExitStatus.REQUEST), "problems": [one.to_json() for one in error.problems]}
    except Exception as error:
        return {"exception": f"{type(error).__name__}: {error}"}
    return {
        "status": int(result.status),
        "problems": [one.to_json() for one in result.problems],
        "warnings": list(result.warnings),
        "tags": dict(result.tags),
        "metrics": {name: value for name, value in result.metrics.items() if name.startswith("parity.")},
        "path": str(result.path),
    }


if __name__ == "__main__":
    # What libraries print does not belong among the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), file=answers, flush=True)
