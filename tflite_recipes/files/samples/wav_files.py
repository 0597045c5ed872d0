"""A folder of `.wav` files, whose sub-folders are their labels."""

from __future__ import annotations

import contextlib
import wave
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, unique
from pathlib import Path
from typing import Annotated, Any

from tflite_recipes.core import regular_files
from tflite_recipes.core.errors import Problem, RequestError, gist
from tflite_recipes.core.schema import within
from tflite_recipes.core.state import TensorSpec
from tflite_recipes.files.samples.folders import HasPath, folder_problems, left_out, listing, only_input
from tflite_recipes.files.samples.sample_source import Samples

_HIGHEST_RATE, _MOST_CHANNELS = 1_000_000, 256
ENDINGS = (".wav",)
_CHECKED = 1000  # headers that a check reads; a run reads all that it uses


@unique
class Loudness(Enum):
    """In what numbers a wave is."""

    unit = "-1…1, full scale is 1"
    int16 = "-32768…32767, whatever the file's width"


@dataclass(frozen=True)
class _Header:
    rate: int
    channels: int
    frames: int


@dataclass(frozen=True)
class WavFolder(HasPath):
    """Uncompressed waves of 8, 16, 24 or 32 bits for a model with one input of (batch, frames[, channels]).

    sample_rate: what the files must have, in Hz; None: that all have the same. Nothing is resampled. seconds: how much
    of a file is taken, where the model leaves its length open. A longer file is cut at its end, a shorter one gets
    zeros there.
    """

    sample_rate: Annotated[int | None, within(ge=1)] = None
    seconds: Annotated[float | None, within(gt=0)] = None
    values: Loudness = Loudness.unit

    def source_problems(self, inputs: tuple[TensorSpec, ...] | None, group: str) -> Iterable[Problem]:
        where = f"{group}.path"
        found = list(folder_problems(self.path, "sounds", ENDINGS, where))
        yield from found
        shapes = list(self._shape_problems(inputs, group)) if inputs is not None else []
        yield from shapes
        if found or shapes:
            return
        files = listing(Path(self.path), ENDINGS).files[:_CHECKED]
        first: _Header | None = None
        for file in files:
            try:
                first = self._checked(file, first, inputs[0] if inputs else None, group)
            except RequestError as error:
                yield from error.problems
                return

    def _shape_problems(self, inputs: tuple[TensorSpec, ...], group: str) -> Iterable[Problem]:
        yield from only_input(inputs, "waves", group)
        if len(inputs) != 1:
            return
        (spec,) = inputs
        if len(spec.shape) not in (2, 3):
            what = f"waves are (frames) or (frames, channels), the model takes {spec}"
            yield Problem(what, group, f"{group}=npz {group}.path=FILE")
        elif spec.shape[1] is None and self.seconds is None:
            yield Problem(f"the model leaves the length open: {spec}", f"{group}.seconds", f"{group}.seconds=1.0")
        elif spec.shape[1] is not None and self.seconds is not None:
            what = f"the model's own length is {spec.shape[1]} frames: {spec}"
            yield Problem(what, f"{group}.seconds", f"{group}.seconds=null")

    def _checked(self, file: Path, first: _Header | None, spec: TensorSpec | None, group: str) -> _Header:
        """The file's header, or that of the first file, which it agrees with. Errors: RequestError."""
        where = f"{group}.path"
        with _opened(file, where) as sound:
            header = _Header(sound.getframerate(), sound.getnchannels(), sound.getnframes())
        wanted = self.sample_rate or (first.rate if first else header.rate)
        if header.rate != wanted:
            what = f"{file} has {header.rate} samples a second, {wanted} are needed; nothing is resampled here"
            ors = (f"sox {file} -r {wanted} {file.stem}_{wanted}.wav",)
            fix = f"{group}.sample_rate={header.rate}" if self.sample_rate else f"{where}=FOLDER"
            raise RequestError(Problem(what, f"{group}.sample_rate", fix, ors))
        channels = _channels(spec) or (first.channels if first else header.channels)
        if header.channels != channels:
            what = f"{file} has {header.channels} channels, {channels} are needed"
            ors = (f"sox {file} -c {channels} {file.stem}_{channels}.wav",)
            raise RequestError(Problem(what, where, f"{where}=FOLDER", ors))
        if header.frames == 0:
            raise RequestError(
                Problem(f"{file} is empty, it holds no sound", where, f"{where}=FOLDER", (f"rm {file}",))
            )
        return first or header

    def _in_numbers(self, sound: Any) -> Any:
        if self.values is Loudness.int16:
            return sound.round().clip(-32768, 32767).astype("int16")
        return (sound / 32768.0).astype("float32")

    def open(self, inputs: tuple[TensorSpec, ...], group: str) -> Samples:
        """The files in the order of their paths."""
        if problems := list(self.source_problems(inputs, group)):
            raise RequestError(problems)
        where, folder, (spec,) = f"{group}.path", Path(self.path), inputs
        found = listing(folder, ENDINGS)
        first, lengths = None, []
        for file in found.files:
            first = self._checked(file, first, spec, group)
            with _opened(file, where) as sound:
                lengths.append(sound.getnframes())
        assert first is not None
        frames = spec.shape[1] or max(1, round((self.seconds or 1.0) * first.rate))

        def rows(wanted: Sequence[int] | None) -> Iterator[dict[str, Any]]:
            for row in range(len(found.files)) if wanted is None else wanted:
                array = self._in_numbers(_wave(found.files[row], frames, where))
                yield {spec.name: array.reshape(-1) if len(spec.shape) == 2 else array}

        done = {"sample_rate": first.rate, "frames": frames, "channels": first.channels, "values": self.values.name}
        return Samples(
            self.path,
            where,
            len(found.files),
            rows,
            found.labels,
            lambda row: str(found.files[row].relative_to(folder)),
            preprocessing={spec.name: done},
            notes=(*left_out(found, "waves", self.path), *_cut_or_padded(lengths, frames, self.path)),
        )


def _cut_or_padded(lengths: Sequence[int], frames: int, path: str) -> Iterable[str]:
    longer, shorter = sum(n > frames for n in lengths), sum(n < frames for n in lengths)
    if longer:
        yield f"{path}: {longer} of {len(lengths)} waves are longer than {frames} frames and cut at their end"
    if shorter:
        yield f"{path}: {shorter} of {len(lengths)} waves are shorter than {frames} frames and get zeros at their end"


def _channels(spec: TensorSpec | None) -> int | None:
    """What the input takes; None where it leaves it open."""
    if spec is None:
        return None
    return 1 if len(spec.shape) == 2 else spec.shape[2]


@contextlib.contextmanager
def _opened(file: Path, where: str) -> Iterator[wave.Wave_read]:
    """The file, to be read inside. Errors: RequestError."""
    try:
        with regular_files.open_regular(file) as stream, wave.open(stream, "rb") as sound:
            _check_promises(sound, file.stat().st_size)
            yield sound
    except RequestError:
        raise
    except Exception as error:  # of a damaged file `wave` raises more than its own errors
        text = "it ends within its header" if isinstance(error, EOFError) else gist(error)
        if "unknown format" in text:
            text += "; uncompressed integer samples (PCM) are needed"
        ors = (f"sox {file} -e signed-integer -b 16 {file.stem}_pcm.wav",)
        raise RequestError(Problem(f"{file} cannot be read: {text}", where, f"{where}=FOLDER", ors)) from error


def _check_promises(sound: wave.Wave_read, held: int) -> None:
    """Hold a header against the file's size. Errors: ValueError."""
    rate, channels = sound.getframerate(), sound.getnchannels()
    if not 1 <= rate <= _HIGHEST_RATE or channels > _MOST_CHANNELS:
        raise ValueError(f"it has {channels} channels at {rate} samples a second")
    promised = sound.getnframes() * channels * sound.getsampwidth()
    if promised > held:
        words = [regular_files.size_in_words(n) for n in (promised, held)]
        raise ValueError("its header promises {} of samples, and the file has {}".format(*words))


def _wave(file: Path, frames: int, where: str) -> Any:
    """(frames, channels) float64 in the range of 16 bits, cut or filled with zeros."""
    import numpy as np

    with _opened(file, where) as sound:
        width, channels = sound.getsampwidth(), sound.getnchannels()
        data = sound.readframes(frames)
    if width == 1:
        values = (np.frombuffer(data, "u1").astype("float64") - 128.0) * 256.0
    elif width == 3:
        padded = np.zeros((len(data) // 3, 4), "u1")
        padded[:, 1:] = np.frombuffer(data[: len(data) // 3 * 3], "u1").reshape(-1, 3)
        values = padded.reshape(-1).view("<i4") / 65536.0
    elif width in (2, 4):
        whole = data[: len(data) // (width * channels) * width * channels]
        values = np.frombuffer(whole, f"<i{width}") / (1.0 if width == 2 else 65536.0)
    else:
        what = f"{file} has {8 * width} bits a sample; 8, 16, 24 and 32 can be read"
        raise RequestError(Problem(what, where, f"{where}=FOLDER"))
    held = values[: len(values) // channels * channels].reshape(-1, channels)
    made = np.zeros((frames, channels))
    made[: len(held)] = held[:frames]
    return made
