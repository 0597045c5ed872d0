"""What is suspicious about samples that may well be right: said in words, one function a suspicion.

Arrays are by input name, first axis samples, often mapped into memory: they are gone through in slices.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from tflite_recipes.files.samples import npz

if TYPE_CHECKING:
    from tflite_recipes.core.events import Reporter
    from tflite_recipes.core.state import State

Arrays = Mapping[str, Any]

_OTHER_SCALE = 20.0  # how many times wider a range is that is scaled in another way: 255 or 128, and room
_OUTLIES = 10.0  # how many times further an outlier reaches than all others
_BYTE = 255.0
_PIXEL_RANK = 4


def constant(arrays: Arrays) -> list[str]:
    """Inputs whose values are all one."""
    found = []
    for name, low, high in _ranges(arrays):
        if low == high:
            found.append(f"every value of the calibration input {name!r} is {low:g}: it says nothing of ranges")
    return found


def alike(arrays: Arrays) -> list[str]:
    """Whether there is one sample only, or every one is the first again, in all inputs. One value is said elsewhere."""
    count = len(next(iter(arrays.values())))
    if len(constant(arrays)) == len(arrays):
        return []
    if count == 1:
        return ["there is one calibration sample: its ranges are all that the file is made for"]
    same = all((part == array[0]).all() for array in arrays.values() for part in npz.chunks(array))
    return (
        [f"all {count} calibration samples are the same one: its ranges are those of a single sample"] if same else []
    )


def outlier(arrays: Arrays, named: Callable[[int], str] = "sample {}".format) -> list[str]:
    """Inputs whose range a few samples set: the largest |x| of one sample, or of up to a tenth of at least 5, is more
    than 10 times that of any other. `named` says a sample's place in words."""
    import numpy as np

    found = []
    for name, array in arrays.items():
        if array.dtype.kind != "f" or len(array) < 5:
            continue
        parts = [np.abs(part.reshape(len(part), -1)).max(axis=1) for part in npz.chunks(array)]
        reach = np.concatenate(parts).astype("float64")
        order = np.argsort(-reach, kind="stable")
        few = next((n for n in range(1, max(1, len(reach) // 10) + 1) if _apart(reach, order, n)), 0)
        if few:
            which = ", ".join(named(int(row)) for row in sorted(order[:few])[:3]) + (", …" if few > 3 else "")
            rest = reach[order[few]]
            verb = "reaches" if few == 1 else "reach"
            text = f"{which} of the calibration input {name!r} {verb} {reach[order[0]]:g}, all others stay within"
            found.append(f"{text} {rest:g}: {'one outlier sets' if few == 1 else 'outliers set'} the range")
    return found


def _apart(reach: Any, order: Any, count: int) -> bool:
    inner, outer = reach[order[count]], reach[order[count - 1]]
    return bool(outer > _OUTLIES * inner > 0)


def raw_pixels(arrays: Arrays, suits: Callable[[str], bool]) -> list[str]:
    """Float inputs with values like those of bytes, 0…255 and beyond 127, that the model is not made for: whole
    numbers, or anything with the shape of images. `suits` says by name whether it is; it is asked only where it
    matters, as it has to look into the model and to run it."""
    found = []
    for name, low, high in _ranges(arrays):
        array = arrays[name]
        if array.dtype.kind != "f" or low < 0 or not _BYTE / 2 < high <= _BYTE:
            continue
        pixels = array.ndim == _PIXEL_RANK and array.shape[-1] in (1, 3)
        if (pixels or _whole(array)) and not suits(name):
            text = (
                f"the calibration input {name!r} has values in {low:g}…{high:g}, and the model begins with no scaling"
            )
            found.append(f"{text}: if it was trained on 0…1 or -1…1, the samples have to be scaled likewise")
    return found


def _whole(array: Any) -> bool:
    return all((part == part.round()).all() for part in npz.chunks(array))


def other_scale(calibration: Arrays, evaluation: Arrays) -> list[str]:
    """Inputs whose values span more than 20 times as much in one of the two."""
    theirs = {name: (low, high) for name, low, high in _ranges(evaluation)}
    found = []
    for name, low, high in _ranges(calibration):
        if name not in theirs or calibration[name].dtype.kind != "f":
            continue
        span, (other_low, other_high) = high - low, theirs[name]
        other = other_high - other_low
        if min(span, other) > 0 and max(span, other) > _OTHER_SCALE * min(span, other):
            text = f"the input {name!r} spans {low:g}…{high:g} in calibration and {other_low:g}…{other_high:g} in"
            found.append(f"{text} evaluation: one of them is not scaled as the model needs it")
    return found


def overlap(calibration: Arrays, evaluation: Arrays) -> list[str]:
    """Whether calibration samples are evaluation samples as well, equal in every value of every input."""
    names = [name for name in calibration if name in evaluation]
    if len(names) < len(calibration):
        return []
    held = set(_digests(evaluation, names))
    mine = list(_digests(calibration, names))
    both = sum(digest in held for digest in mine)
    text = f"{both} of {len(mine)} calibration samples {'is an' if both == 1 else 'are'} evaluation sample"
    tail = f"{'' if both == 1 else 's'} as well: what is measured may be better than on new data"
    return [text + tail] if both else []


def against_evaluation(calibration: Arrays, evaluation: Arrays) -> list[str]:
    """What is suspicious about the two together."""
    return [*other_scale(calibration, evaluation), *overlap(calibration, evaluation)]


def warn_of_evaluation(state: State, evaluation: Arrays, reporter: Reporter) -> None:
    """The same for a run's own calibration samples, where it has some."""
    for text in against_evaluation(npz.open_arrays(state.calibration), evaluation) if state.calibration else ():
        reporter.warn(text)


def _ranges(arrays: Arrays) -> Iterable[tuple[str, float, float]]:
    """Least and largest value of each input of numbers that has any."""
    for name, array in arrays.items():
        if array.dtype.kind in "fiu" and array.size:
            ends = [(float(part.min()), float(part.max())) for part in npz.chunks(array)]
            yield name, min(low for low, _ in ends), max(high for _, high in ends)


def _digests(arrays: Arrays, names: Iterable[str]) -> Iterable[bytes]:
    """A digest of each sample, of its values in the inputs `names`; -0.0 is 0.0."""
    import numpy as np

    streams = [(row for part in npz.chunks(arrays[name]) for row in part) for name in names]
    for values in zip(*streams, strict=True):
        digest = hashlib.blake2b(digest_size=16)
        for value in map(np.asarray, values):
            text = value.dtype.kind in "OUS"
            digest.update(repr(value.tolist()).encode() if text else (value + value.dtype.type(0)).tobytes())
        yield digest.digest()
