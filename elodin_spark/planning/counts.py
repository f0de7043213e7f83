"""Windows of images by their headers, as a stage: where pixels are not asked, counts are exact."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import pyarrow as pa

from elodin_spark import schema
from elodin_spark.config.settings import Blobs, FullImage, Generator, Positions, Settings, SlidingWindow, Step
from elodin_spark.cutouts.layout import pixel_scale, position_layout, refuse_moved, sliding_layout
from elodin_spark.cutouts.picture import POINTWISE, WHOLE_PIXELS
from elodin_spark.cutouts.steps import trace_steps
from elodin_spark.errors import ImageError
from elodin_spark.fingerprints.dense import seen_pixels
from elodin_spark.planning.offers import Dense, dense_of
from elodin_spark.stage import Locate, Stage

Steps = Literal["auto"] | tuple[Step, ...]

#: Images with what a run would do with them.
COUNTED = pa.schema(
    [
        *schema.TARGETED,
        pa.field("windows", pa.int64(), metadata={"meaning": "null where pixels decide", "unit": ""}),
        pa.field(
            "dense_windows", pa.int64(), metadata={"meaning": "in dense mode, where it fits", "unit": ""}
        ),
        pa.field("dense_px", pa.int64(), metadata={"meaning": "that the network sees in it", "unit": "px"}),
        pa.field("refused", pa.string(), metadata={"meaning": "kind: why it gives none", "unit": ""}),
    ]
)


@dataclass(frozen=True)
class CountSpec:
    """``schema.IMAGES`` or ``schema.TARGETED`` to :data:`COUNTED`.

    Parameters
    ----------
    generator : Generator
    steps : "auto" or tuple of Step
        Of each image before it is cut.
    color : bool
        Images are made of several bands.
    dense : Dense, optional
        How they would be gone through in dense mode, where the settings allow it.
    """

    generator: Generator
    steps: Steps = "auto"
    color: bool = False
    dense: Dense | None = None
    files: tuple[str, ...] = ()

    @classmethod
    def from_settings(cls, settings: Settings) -> CountSpec:
        """The spec of a run."""
        color = settings.images.color is not None
        return cls(settings.cutouts.generator, settings.images.steps, color, dense_of(settings))

    @property
    def output_schema(self) -> pa.Schema:
        """:data:`COUNTED`."""
        return COUNTED

    def build(self, locate: Locate) -> Stage:
        """Build the stage; there is nothing to locate."""
        return _Count(self)


class _Count:
    output_schema = COUNTED

    def __init__(self, spec: CountSpec) -> None:
        self._spec = spec

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield schema.rows_to_batch([self._row(image) for image in batch.to_pylist()], COUNTED)

    def _row(self, image: dict[str, Any]) -> dict[str, Any]:
        if image["status"] != "ok":
            return image | {"refused": image["error"] or "unreadable: not described"}
        spec = self._spec
        try:
            windows = count_windows(
                image, spec.generator, spec.steps, image.get("targets") or (), color=spec.color
            )
        except ImageError as error:
            return image | {"refused": f"{error.kind}: {error}"}
        # The same boundary as of the run: a header that a library chokes on is that image's failure.
        except Exception as error:
            return image | {"refused": f"unreadable: {type(error).__name__}: {error}"}
        return image | {"windows": windows} | self._dense_row(image)

    def _dense_row(self, image: dict[str, Any]) -> dict[str, int]:
        dense, steps = self._spec.dense, self._spec.steps
        if dense is None:
            return {}
        size = (int(image["height"]), int(image["width"]))
        shape, _ = trace_steps(size, () if steps == "auto" else steps)
        windows = _count_sliding(shape[0], shape[1], None, dense.generator)
        seen = seen_pixels(shape, dense.block_px, dense.halo_px) if windows else 0
        return {"dense_windows": windows, "dense_px": seen}


def count_windows(
    image: Mapping[str, Any],
    generator: Generator,
    steps: Steps = "auto",
    targets: Sequence[Mapping[str, Any]] = (),
    *,
    color: bool = False,
) -> int | None:
    """Count the windows that a run would cut from an image.

    Parameters
    ----------
    image : mapping
        A row of ``schema.IMAGES``.
    generator : Generator
    steps : "auto" or tuple of Step
        Of the image before it is cut.
    targets : sequence of mapping
        Positions that may lie on it, as ``schema.TARGET``.
    color : bool
        It is made of several bands.

    Returns
    -------
    int or None
        None where pixels decide: blobs and sources.

    Raises
    ------
    ImageError
        The image gives none; kinds as of :func:`elodin_spark.cutouts.layout.lay_windows`.
    """
    size = (int(image["height"]), int(image["width"]))
    moves = () if steps == "auto" else steps
    if size[0] * size[1] > WHOLE_PIXELS:
        _refuse_whole(size, generator, moves, color)
    shape, affine = trace_steps(size, moves)
    height, width = shape[:2]
    match generator:
        case FullImage():
            return 1
        case SlidingWindow():
            angles = any(isinstance(length, str) for length in (*generator.size, generator.step))
            return _count_sliding(height, width, pixel_scale(image, affine) if angles else None, generator)
        case Positions():
            refuse_moved(generator.kind, affine)
            return len(position_layout(image, shape, generator, targets))
        case Blobs():
            return None
    refuse_moved(generator.kind, affine)
    return None


@lru_cache(maxsize=4096)
def _count_sliding(height: int, width: int, scale: float | None, generator: SlidingWindow) -> int:
    return len(sliding_layout((height, width), scale, generator))


def _refuse_whole(size: tuple[int, int], generator: Generator, steps: tuple[Step, ...], color: bool) -> None:
    needs = "blobs" if isinstance(generator, Blobs) else ""
    if color and steps:
        needs = "images.steps of a color image"
    elif other := [step.type for step in steps if step.type not in POINTWISE]:
        needs = other[0]
    if needs:
        raise ImageError(
            f"the image has {size[1]} x {size[0]} px, more than {needs} can be done on ({WHOLE_PIXELS} px): "
            "leave it out of the settings, or cut the image into tiles first",
            kind="too_large",
        )
