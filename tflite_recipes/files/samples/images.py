"""A folder of images, whose sub-folders are their labels, decoded and resized by Pillow."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, unique
from pathlib import Path
from typing import Annotated, Any

from tflite_recipes.core import regular_files
from tflite_recipes.core.errors import Problem, RequestError, assignment, gist
from tflite_recipes.core.schema import within
from tflite_recipes.core.state import TensorSpec
from tflite_recipes.files.samples.folders import HasPath, folder_problems, left_out, listing, only_input
from tflite_recipes.files.samples.sample_source import Samples
from tflite_recipes.files.samples.scaling import Scaling

# An image of more pixels than `_LARGE` may have so many for each byte of its file; photographs have about 10. Decoding
# takes at least 3 bytes for each.
_MOST_PIXELS, _LARGE, _PIXELS_A_BYTE = 150_000_000, 20_000_000, 100
ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")


@unique
class Resize(Enum):
    """How pixels are made from those of another size; all but nearest are antialiased when they shrink."""

    nearest = "the nearest pixel"
    bilinear = "linear between neighbours"
    bicubic = "cubic between neighbours"
    area = "mean of the pixels that become one"
    lanczos = "windowed sinc"


@unique
class Crop(Enum):
    """What becomes of an image whose sides are in another ratio than the model's."""

    stretch = "squeezed into the model's size"
    center_crop = "cut to the model's ratio around its centre"
    pad = "kept whole, black at the sides"


@unique
class Order(Enum):
    """Which colour is the first channel."""

    rgb = "red first"
    bgr = "blue first"


@dataclass(frozen=True)
class Geometry:
    """What an image becomes: (height, width, channels) uint8, or (height, width) with `flat`."""

    height: int
    width: int
    channels: int
    resize: Resize
    crop: Crop
    order: Order
    flat: bool = False

    def pixels(self, opened: Any) -> Any:
        """The pixels of a Pillow image, before scaling. The rotation in a camera's EXIF data is not applied, as
        TensorFlow and Keras do not apply it. Errors: ValueError for pixels of more than 8 bits."""
        import numpy as np

        if opened.mode in ("I", "F") or opened.mode.startswith("I;"):
            raise ValueError(f"its pixels have more than 8 bits (mode {opened.mode})")
        image = self._sized(opened.convert("RGB" if self.channels == 3 else "L"))
        array = np.asarray(image)
        if self.flat:
            return array
        array = array.reshape(self.height, self.width, self.channels)
        return array[..., ::-1] if self.order is Order.bgr and self.channels == 3 else array

    def _sized(self, image: Any) -> Any:
        from PIL import Image

        names = {Resize.area: Image.Resampling.BOX}
        method = names.get(self.resize) or Image.Resampling[self.resize.name.upper()]
        size, (w, h) = (self.width, self.height), image.size
        if self.crop is Crop.center_crop:
            share = min(w / self.width, h / self.height)
            left, top = (w - share * self.width) / 2, (h - share * self.height) / 2
            return image.resize(size, method, (left, top, w - left, h - top))
        if self.crop is Crop.pad:
            share = min(self.width / w, self.height / h)
            inner = max(1, round(w * share)), max(1, round(h * share))
            canvas = Image.new(image.mode, size)
            canvas.paste(image.resize(inner, method), ((size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2))
            return canvas
        return image if image.size == size else image.resize(size, method)

    def recorded(self) -> dict[str, Any]:
        """For the manifest."""
        channels = "gray" if self.channels == 1 else self.order.name
        antialias = self.resize is not Resize.nearest
        return {
            "size": [self.height, self.width],
            "resize": self.resize.name,
            "antialias": antialias,
            "crop": self.crop.name,
            "channels": channels,
        }


def decode(data: bytes | Path, geometry: Geometry) -> Any:
    """The pixels of an image file, or of its bytes; the first frame of several. Errors: ValueError, in words."""
    from PIL import Image

    try:
        with io.BytesIO(data) if isinstance(data, bytes) else regular_files.open_regular(data) as stream:
            held = stream.seek(0, io.SEEK_END)
            stream.seek(0)
            with Image.open(stream) as opened:
                pixels = opened.size[0] * opened.size[1]
                if pixels > _MOST_PIXELS or (pixels > _LARGE and pixels > _PIXELS_A_BYTE * held):
                    width, height = opened.size
                    size = regular_files.size_in_words(held)
                    raise ValueError(f"it promises {width} x {height} pixels, and has {size}")
                return geometry.pixels(opened)
    except Exception as error:  # what damage makes Pillow's decoders raise is open-ended
        text = "it is no image that Pillow knows" if "cannot identify" in str(error) else gist(error)
        raise ValueError(text) from error


@dataclass(frozen=True)
class ImageKeys:
    """How images become samples of an input of (batch, height, width[, 1 or 3 channels]).

    size: [height, width], needed where the model leaves them open. channels: 1 or 3, needed where it leaves them open.
    mean and std, or scale and offset: numbers, or lists of one a channel in the order of `order`.
    """

    size: list[int] | None = None
    resize: Resize = Resize.bilinear
    crop: Crop = Crop.stretch
    channels: Annotated[int | None, within(ge=1, le=3)] = None
    order: Order = Order.rgb
    mean: Any = None
    std: Any = None
    scale: Any = None
    offset: Any = None

    def key_problems(self, spec: TensorSpec | None, group: str) -> Iterable[Problem]:
        """What is wrong with these keys, which stand under `group`; `spec` None where the input is not known."""
        channels = self.channels
        if self.size is not None and (len(self.size) != 2 or min(self.size, default=0) < 1):
            side = next((size for size in self.size if size > 0), 96)
            what = f"{self.size} is not [height, width], both at least 1"
            yield Problem(what, f"{group}.size", assignment(f"{group}.size", [side, side]))
        elif self.channels == 2:
            yield Problem("images have 1 or 3 channels", f"{group}.channels", f"{group}.channels=3")
        elif spec is not None:
            try:
                channels = self.geometry(spec, group).channels
            except RequestError as error:
                yield from error.problems
        yield from Scaling.of(vars(self)).problems(group, channels)

    def geometry(self, spec: TensorSpec, group: str) -> Geometry:
        """What each image has to become. Errors: RequestError where the input takes no images, or sizes are open."""
        other = f"{group.partition('.')[0]}=npz {group.partition('.')[0]}.path=FILE"
        if len(spec.shape) not in (3, 4):
            what = f"images are (height, width, channels), the model takes {spec}"
            raise RequestError(Problem(what, group, other))
        flat = len(spec.shape) == 3
        (height, width), channels = spec.shape[1:3], 1 if flat else spec.shape[3]
        problems = []
        if self.size is None and (height is None or width is None):
            what = f"the model leaves the size of its images open: {spec}"
            example = [height or width or 224, width or height or 224]
            problems.append(Problem(what, f"{group}.size", assignment(f"{group}.size", example)))
        if self.size and any(own not in (None, size) for own, size in zip((height, width), self.size, strict=True)):
            what = f"{self.size} does not fit the model's {spec}"
            problems.append(Problem(what, f"{group}.size", f"{group}.size=null"))
        if channels not in (None, 1, 3):
            what = f"images have 1 or 3 channels, the model takes {spec}"
            problems.append(Problem(what, group, other))
        elif channels is None and self.channels is None:
            what = f"the model leaves the number of channels open: {spec}"
            problems.append(Problem(what, f"{group}.channels", f"{group}.channels=3"))
        elif channels is not None and self.channels not in (None, channels):
            what = f"{self.channels} does not fit the model's {spec}"
            problems.append(Problem(what, f"{group}.channels", f"{group}.channels={channels}"))
        if problems:
            raise RequestError(problems)
        height, width = self.size or (height, width)
        return Geometry(height, width, channels or self.channels, self.resize, self.crop, self.order, flat)  # type: ignore[arg-type]


@dataclass(frozen=True)
class ImageFolder(ImageKeys, HasPath):
    """A folder of images for a model with one input."""

    def source_problems(self, inputs: tuple[TensorSpec, ...] | None, group: str) -> Iterable[Problem]:
        yield from folder_problems(self.path, "images", ENDINGS, f"{group}.path")
        yield from only_input(inputs, "images", group)
        yield from self.key_problems(inputs[0] if inputs and len(inputs) == 1 else None, group)

    def open(self, inputs: tuple[TensorSpec, ...], group: str) -> Samples:
        """The images in the order of their paths."""
        if problems := list(self.source_problems(inputs, group)):
            raise RequestError(problems)
        folder, geometry, scaling = Path(self.path), self.geometry(inputs[0], group), Scaling.of(vars(self))
        found = listing(folder, ENDINGS)

        def rows(wanted: Sequence[int] | None) -> Iterator[dict[str, Any]]:
            scaled = scaling.function()
            for row in range(len(found.files)) if wanted is None else wanted:
                yield {inputs[0].name: scaled(_pixels(found.files[row], geometry, f"{group}.path"))}

        return Samples(
            self.path,
            f"{group}.path",
            len(found.files),
            rows,
            found.labels,
            _named(found.files, folder),
            preprocessing={inputs[0].name: {**geometry.recorded(), **scaling.recorded()}},
            notes=left_out(found, "images", self.path),
        )


def _named(files: Sequence[Path], folder: Path) -> Callable[[int], str]:
    return lambda row: str(files[row].relative_to(folder))


def _pixels(file: Path, geometry: Geometry, where: str) -> Any:
    try:
        return decode(file, geometry)
    except ValueError as error:
        ors = (f"rm {file}",)
        raise RequestError(Problem(f"{file} cannot be read: {error}", where, f"{where}=FOLDER", ors)) from error
