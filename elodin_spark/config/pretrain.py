"""Settings of self-supervised training."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from elodin_spark.config.base import Model


class Stretch(Model):
    """A stretch of the training at one size of the views."""

    px: int = Field(ge=32, le=512, description="side of the views, px")
    steps: int = Field(ge=1, description="batches")


class PretrainSettings(Model):
    """How a backbone is trained on cutouts, most of them without labels."""

    start: str | None = Field(
        None, description="weights to begin with: survey or a file; by default random ones, drawn by the seed"
    )
    stretches: tuple[Stretch, ...] = Field(
        (Stretch(px=32, steps=2000), Stretch(px=64, steps=2000)),
        min_length=1,
        description="sizes of the views, small ones first",
    )
    cutouts: int = Field(48, ge=0, le=65536, description="real ones of a step; of each there are two views")
    stamps: int = Field(48, ge=0, le=65536, description="simulated ones of a step")
    labeled: int = Field(0, ge=0, le=65536, description="labeled ones of a step")
    held_out: float = Field(
        1 / 3, gt=0, lt=1, description="share of the labeled ones, of each class, that is not learned from"
    )
    stamp_pool: int = Field(30_000, ge=1, description="simulated objects; each comes again in other views")
    tiles: int = Field(
        0, ge=0, description="of the simulated survey, whose windows join the simulated objects"
    )
    stamp_px: int = Field(96, ge=32, le=512, description="side of the simulated cutouts, px")
    source_px: int = Field(200, ge=32, le=1024, description="side of real cutouts when views are cut, px")
    temperature: float = Field(0.2, gt=0, le=10, description="of the contrastive loss")
    contrast: float = Field(0.5, ge=0, description="weight of the contrastive loss")
    shapes: float = Field(1.0, ge=0, description="weight of the known shapes of simulated objects")
    profile: float = Field(1.0, ge=0, description="weight of what the cutouts measure by themselves")
    labels: float = Field(1.0, ge=0, description="weight of the classes and attributes of labeled ones")
    alike: float = Field(1.0, ge=0, description="weight of what draws labeled ones of a class together")
    frozen: int = Field(0, ge=0, le=4, description="first stages of the network that stay as they begin")
    teacher_decay: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="share that the teacher, an average of the network over its steps, keeps of itself in a "
        "step; above 0 the teacher is what is checked and packed",
    )
    learning_rate: float = Field(1e-3, gt=0, le=1, description="the largest")
    warmup_steps: int = Field(100, ge=0, description="in which the rate grows")
    weight_decay: float = Field(1e-4, ge=0, lt=1, description="of AdamW")
    precision: Literal["bf16", "f32"] = Field("bf16", description="of the convolutions")
    checkpoint_steps: int = Field(100, ge=1, description="from one checkpoint to the next")
    check_steps: int = Field(400, ge=1, description="from one check of neighbors to the next")
    checked: int = Field(1500, ge=100, le=10**6, description="simulated objects of such a check")
    seed: int = Field(0, ge=0, lt=2**31, description="of everything random")

    @model_validator(mode="after")
    def _something_to_learn(self) -> PretrainSettings:
        if self.cutouts + self.stamps + self.labeled < 2:
            raise ValueError("cutouts, stamps and labeled are together at least 2: views are told apart")
        known = (self.shapes and self.stamps) or ((self.labels or self.alike) and self.labeled)
        if not self.contrast and not self.profile and not known:
            raise ValueError("contrast, profile, and shapes or stamps are 0: nothing is left to learn")
        if self.frozen and self.start is None:
            raise ValueError("frozen stages stay as random as they begin: name weights by start")
        return self

    @property
    def steps(self) -> int:
        """Of all stretches."""
        return sum(stretch.steps for stretch in self.stretches)

    def px_at(self, step: int) -> int:
        """Side of the views of a step, from 0."""
        for stretch in self.stretches:
            if step < stretch.steps:
                return stretch.px
            step -= stretch.steps
        return self.stretches[-1].px
