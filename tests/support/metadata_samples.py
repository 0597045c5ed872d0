"""Metadata of a small image classifier."""

from __future__ import annotations

from tflite_recipes.files.tflite.metadata_table import ColorSpace, Content, ModelMetadata, TensorMetadata

PICTURE = TensorMetadata(
    "picture", "a picture", Content.image, ColorSpace.rgb, (64, 48), mean=(1.5, 2.0, 3.0), std=(2.0,), minimum=(-1.0,)
)


SCORES = TensorMetadata("scores", labels="labels.txt", maximum=(1.0, 0.5))


NET = ModelMetadata("net", "Tells cats from dögs.", (PICTURE,), (SCORES,), "1.0.0")


LABELS = {"labels.txt": "cat\ndög\n".encode()}
