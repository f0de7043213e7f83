"""Settings of the feed of cutouts to a training."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from elodin_spark.config.base import Model

#: What reads the Parquet files.
FeedReader = Literal["auto", "petastorm", "arrow"]


class FeedSettings(Model):
    """How cutouts become batches of images."""

    side_px: int = Field(64, ge=1, le=4096, description="side of the images, px")
    channels: Literal[1, 3] = Field(3, description="3: RGB; 1: gray")
    batch_size: int = Field(128, ge=1, le=65536, description="images of a batch")
    epochs: int | None = Field(1, ge=1, description="passes over the cutouts; null: for ever")
    seed: int = Field(0, ge=0, lt=2**63, description="of the order")
    shuffle: bool = Field(True, description="row groups, and rows within a buffer")
    buffer_rows: int = Field(2048, ge=1, description="cutouts, encoded, that the next one is drawn from")
    drop_last: bool = Field(False, description="leave out the last batch of an epoch where it is short")
    threads: int = Field(2, ge=0, le=256, description="that decode; 0: the caller's own")
    reader: FeedReader = Field("auto", description="auto: petastorm where it is installed, otherwise arrow")
