"""Labels, checked before anything is scored or trained with them."""

from __future__ import annotations

from typing import Any

from tflite_recipes.core.errors import Problem, RequestError

# How far from 1 shares may sum up.
_SUM = 1e-2


def class_numbers(labels: Any, classes: int, samples: int, file: str, where: str) -> Any:
    """Class numbers (samples,) int64 from numbers, one-hot rows or rows of shares; with one class, 0 or 1.

    Errors: RequestError naming file and first bad sample for a wrong count, text, NaN, fractions, rows that are no
    shares of 1, or a class that the output does not have.
    """
    import numpy as np

    given = np.asarray(labels)
    if given.ndim == 2 and given.shape[1] == classes > 1 and given.dtype.kind in "iufb":
        shares = (given >= 0).all(axis=1) & (abs(given.sum(axis=1, dtype="float64") - 1.0) <= _SUM)
        if not shares.all():
            what = f"{file}: the label of sample {int(shares.argmin())} is neither one-hot nor shares of the classes"
            raise RequestError(Problem(what, where))
        given = given.argmax(axis=1)
    given = given.reshape(-1)
    if len(given) != samples or given.dtype.kind not in "iufb":
        raise RequestError(Problem(f"{file}: {len(given)} labels ({given.dtype}) for {samples} samples", where))
    values = given.astype("float64")
    known = max(classes, 2)
    wrong = ~np.isfinite(values) | (values != np.floor(values)) | (values < 0) | (values >= known)
    if wrong.any():
        first = int(wrong.argmax())
        what = f"{file}: label {given[first]} of sample {first} is none of the output's {known} classes"
        raise RequestError(Problem(what, where))
    return values.astype("int64")


def targets(labels: Any, shape: tuple[int, ...], file: str, where: str) -> Any:
    """Numbers of the output's own shape. Errors: RequestError for another size, text, NaN or infinities."""
    import numpy as np

    given = np.asarray(labels)
    if given.dtype.kind not in "iufb" or given.size != int(np.prod(shape)):
        what = f"{file}: labels {given.shape} {given.dtype} do not suit an output of {shape}"
        raise RequestError(Problem(what, where))
    values = given.astype("float64").reshape(shape)
    bad = ~np.isfinite(values.reshape(len(values), -1)).all(axis=1)
    if bad.any():
        raise RequestError(Problem(f"{file}: the label of sample {int(bad.argmax())} is not a finite number", where))
    return values
