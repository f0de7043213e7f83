"""Settings of the generators: where windows are laid."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from elodin_spark.config.base import Length, Model

#: One length or several; kept as a tuple.
Lengths = Annotated[
    tuple[Length, ...],
    Field(min_length=1),
    BeforeValidator(lambda value: (value,) if isinstance(value, int | str) else value),
]


class FullImage(Model):
    """One window: the whole image.

    Examples
    --------
    >>> from elodin_spark import FullImage
    >>> FullImage()
    FullImage(kind='full_image')
    """

    kind: Literal["full_image"] = "full_image"


class SlidingWindow(Model):
    """Square windows every `step`, row by row, covering every pixel; of several sizes, each in turn.

    ``edge="shift"`` moves the last window of a row or column back so that it lies flush with
    the far edge; ``edge="drop"`` leaves it out.

    Examples
    --------
    >>> from elodin_spark import SlidingWindow
    >>> SlidingWindow(size=224, step=112)
    SlidingWindow(kind='sliding_window', size=(224,), step=112, edge='shift')
    >>> SlidingWindow(size=("30 arcsec", "1 arcmin")).size
    ('30 arcsec', '1 arcmin')
    """

    kind: Literal["sliding_window"] = "sliding_window"
    size: Lengths = Field((224,), description="side of a window: px, or `30 arcsec`; or several")
    step: Length | None = Field(
        None, description="from one window to the next, px or an angle; at most `size`; empty: half of it"
    )
    edge: Literal["shift", "drop"] = Field(
        "shift",
        description="`shift`: the last window of a row or column is moved back, flush with the edge; "
        "`drop`: it is left out",
    )

    @model_validator(mode="after")
    def _covering(self) -> Self:
        smallest = min((size for size in self.size if isinstance(size, int)), default=None)
        if isinstance(self.step, int) and smallest is not None and self.step > smallest:
            raise ValueError(
                f"step {self.step} px is larger than size {smallest} px: pixels between windows are lost"
            )
        return self


class Blobs(Model):
    """Square windows around the bright connected regions of the smoothed image.

    Examples
    --------
    >>> from elodin_spark import Blobs
    >>> Blobs(sigma=5, min_size=64)
    Blobs(kind='blobs', sigma=5.0, threshold=2.0, padding=80, min_size=64)
    """

    kind: Literal["blobs"] = "blobs"
    sigma: float = Field(10.0, gt=0, description="of the Gaussian that smooths the image, px")
    threshold: float = Field(
        2.0, gt=0, description="bright is above this many times the mean of the smoothed image"
    )
    padding: int = Field(80, ge=0, description="added on each side of a region, px")
    min_size: int = Field(16, ge=8, description="smaller windows are widened to this side, px")


class Positions(Model):
    """One window around each position of a catalog: CSV, ECSV, IPAC, Parquet, VOTable or FITS.

    Examples
    --------
    >>> from elodin_spark.config.settings import Positions
    >>> Positions(catalog="galaxies.csv", size="20 arcsec").size
    ('20 arcsec',)
    """

    kind: Literal["positions"] = "positions"
    catalog: str = Field(description="path of the file of positions")
    ra_column: str | None = Field(
        None, description="right ascension, deg unless it has a unit; empty: by its name"
    )
    dec_column: str | None = Field(
        None, description="declination, deg unless it has a unit; empty: by its name"
    )
    id_column: str | None = Field(
        None,
        description="texts or whole numbers that name the positions; empty: by its name, or rows are "
        "numbered",
    )
    size: Lengths = Field((64,), description="side of a window: px, or `30 arcsec`; or several")
    edge: Literal["shift", "drop"] = Field(
        "shift", description="of windows that reach beyond the image; `shift`: moved inside; `drop`: left out"
    )


class Sources(Model):
    """One window around each source that SEP detects above the sky.

    Examples
    --------
    >>> from elodin_spark.config.settings import Sources
    >>> Sources(size=64, threshold_sigma=5).min_area_px
    5
    """

    kind: Literal["sources"] = "sources"
    size: Lengths | None = Field(
        None,
        description="side of a window: px, or `30 arcsec`; or several; empty: by the extent of the source",
    )
    extent_factor: float = Field(
        2.0, ge=1, description="side of a window over the extent of the source, where `size` is empty"
    )
    threshold_sigma: float = Field(
        3.0, gt=0, description="sources are above the sky by this, in units of its noise"
    )
    min_area_px: int = Field(5, ge=1, description="connected pixels of a source, at least")
    zero_point: float | None = Field(None, description="magnitude of a flux of 1, mag; empty: no magnitudes")


Generator = Annotated[FullImage | SlidingWindow | Blobs | Positions | Sources, Field(discriminator="kind")]
