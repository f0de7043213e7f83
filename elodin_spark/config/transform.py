"""Settings of what is made of the network's answer before it is kept."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from elodin_spark.config.base import Model

Storage = Literal["float32", "float16"]
VectorTransform = Literal["none", "standardize", "whiten"]
#: What may be asked for: ``auto`` is settled when a catalog is begun.
TransformChoice = Literal["auto", "none", "standardize", "whiten"]
LabelsChoice = Literal["auto", "classes", "units", "prototypes"]
#: What labels are, once that is settled.
LabelsKind = Literal["classes", "units", "prototypes"]

#: Transforms by which the vectors of several networks cannot be joined.
APART: tuple[VectorTransform, ...] = ("none", "whiten")

#: What ``fingerprints.transform: auto`` is in a new catalog.
AUTO_TRANSFORM: VectorTransform = "standardize"
#: What ``fingerprints.power`` is then, where it is left out.
AUTO_POWER = 0.5
#: What ``fingerprints.copies`` is then, where it is left out.
AUTO_COPIES = 256
#: What ``fingerprints.labels: auto`` is in a new catalog whose network has no head.
AUTO_LABELS: Literal["units", "prototypes"] = "prototypes"
#: Components that ``whiten`` keeps where ``pca`` says nothing, at most.
WHITENED = 64


class TransformSettings(Model):
    """The transform of the vectors and the label sets that are not the network's own."""

    transform: TransformChoice = Field(
        "auto",
        description="what is made of the vectors, fitted to the archive; `auto`: `standardize` in a new "
        "catalog. Part of the recipe",
    )
    power: float | None = Field(
        None,
        gt=0,
        le=1,
        description="signed power that each component is raised to; 0.5: the square root; empty: 0.5 "
        "where `transform` is `auto` in a new catalog, else 1. Part of the recipe",
    )
    copies: int | None = Field(
        None,
        ge=0,
        le=4096,
        description="windows of the sample that the networks see again, with noise, blurred, shifted or lit: "
        "what of a vector changes with these counts less; 0: none; empty: 256 where `transform` is `auto` in "
        "a new catalog of mode `window`, else none. Part of the recipe",
    )
    pca: int | None = Field(
        None,
        ge=1,
        le=4096,
        description="principal components kept of a vector; empty: all of them, or with `whiten` 64 at "
        "most. Part of the recipe",
    )
    pca_sample: int = Field(
        4096,
        ge=2,
        le=100_000,
        description="windows that the transform, components and prototypes are fitted to; no fewer "
        "than components",
    )
    labels: LabelsChoice = Field(
        "auto",
        description="what the label set is made of: `classes` of the head, `units` of the vector or "
        "`prototypes`; `auto`: classes where the first network has a head, else prototypes. Part "
        "of the recipe",
    )
    prototypes: int = Field(
        1000,
        ge=2,
        le=65_536,
        description="prototypes of `labels: prototypes`, at most; no more than a quarter of the windows "
        "they are fitted to",
    )
    storage: Storage = Field("float32", description="of the vectors in the table. Part of the recipe")

    @property
    def fitted(self) -> bool:
        """Whether anything is fitted to the archive, or the vectors are transformed at all.

        ``auto`` that is not settled counts as the network's own answer: outside of a catalog there is
        nothing to fit to.
        """
        return self.sampled or self.exponent != 1

    @property
    def exponent(self) -> float:
        """The power; 1 where it is not settled."""
        return 1.0 if self.power is None else self.power

    @property
    def sampled(self) -> bool:
        """Whether that needs windows of the archive to be fitted to; a power does not."""
        fitted = self.components is not None or self.transform == "standardize" or self.labels == "prototypes"
        return fitted or bool(self.copies)

    @property
    def components(self) -> int | None:
        """Principal components that are kept, at most; None where vectors are not projected."""
        return WHITENED if self.pca is None and self.transform == "whiten" else self.pca

    def untransformed(self) -> Self:
        """These settings, for the network's own answers."""
        return self.model_copy(
            update={
                "transform": "none",
                "power": 1.0,
                "copies": 0,
                "pca": None,
                "labels": "auto",
                "storage": "float32",
            }
        )

    @model_validator(mode="after")
    def _enough_to_fit(self) -> TransformSettings:
        if self.pca is not None and self.pca_sample < self.pca:
            raise ValueError(
                f"pca_sample {self.pca_sample} is too few windows to fit pca {self.pca} components to: "
                "raise it to some ten times as many"
            )
        return self
