"""Settings of color: which planes belong together, which band becomes which channel, and how bright."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from elodin_spark.config.base import Model

#: What stands for the band in a pattern and in the path of a group.
PLACEHOLDER = "{band}"


class NamePattern(Model):
    """Planes belong together whose paths differ only in the band.

    `pattern` is compared with the end of the path, folder by folder, as in
    ``frame-{band}-*.fits.bz2`` or ``*/{band}/coadd_*.fits``. ``{band}`` stands for one or more
    letters and digits and may occur more than once; ``*`` for any characters but ``/``,
    ``?`` for one, ``**`` for any with ``/``. HDUs of one file make groups of their own.
    """

    kind: Literal["pattern"] = "pattern"
    pattern: str = Field(
        description="compared with the end of the path, folder by folder; `{band}` stands for one or more "
        "letters and digits, `*` for any characters but `/`, `?` for one, `**` for any with "
        "`/`"
    )
    aliases: dict[str, str] = Field(
        default_factory=dict, description="band in the path to the band that it is, e.g. `{HSC-G: g}`"
    )

    @field_validator("pattern")
    @classmethod
    def _has_a_band(cls, value: str) -> str:
        if PLACEHOLDER not in value:
            raise ValueError(f"pattern {value!r} lacks {PLACEHOLDER}, which stands for the band")
        rest = value.replace(PLACEHOLDER, "")
        if "{" in rest or "}" in rest:
            raise ValueError(f"pattern {value!r} has braces other than {PLACEHOLDER}; use * for the rest")
        if "{band}{band}" in value or "{band}*" in value or "*{band}" in value:
            raise ValueError(
                f"pattern {value!r} does not say where the band ends; put text such as - or / around it"
            )
        return value.removeprefix("/")


class HeaderKeywords(Model):
    """Planes belong together whose headers agree in `keywords`, such as TRACT and PATCH.

    The band is the first of `band_keywords` that a header has, and without any what the
    ``bands`` column says. SDSS frames do not name their field in the header: group these by
    :class:`NamePattern`.
    """

    kind: Literal["header"] = "header"
    keywords: tuple[str, ...] = Field(min_length=1, description="cards that agree, such as `[TRACT, PATCH]`")
    band_keywords: tuple[str, ...] = Field(
        (),
        description="the first of these cards that a header has is its band; none: what the column "
        "`bands` says",
    )
    aliases: dict[str, str] = Field(
        default_factory=dict, description="band in the header to the band that it is, e.g. `{HSC-G: g}`"
    )

    @field_validator("keywords", "band_keywords", mode="before")
    @classmethod
    def _one_or_many(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @field_validator("keywords", "band_keywords")
    @classmethod
    def _upper(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        names = tuple(name.strip().upper() for name in value)
        if "" in names or len(set(names)) < len(names):
            raise ValueError(f"keywords {value} must be different names of header cards")
        return names


BandGrouping = Annotated[NamePattern | HeaderKeywords, Field(discriminator="kind")]


class LuptonStretch(Model):
    """One asinh of the mean of the channels; color does not depend on brightness.

    Lupton et al. 2004, PASP 116, 133, as ``astropy.visualization.LuptonAsinhStretch`` scales it:
    with I the mean of the channels above `minimum`, f = 0.1 asinh(q I / stretch) / asinh(0.1 q), so
    that I = 0.1 `stretch` has brightness 0.1. Cores of brightness above 0.8, where detectors
    saturate, have the hue of what is around them. Values are those of the bands above their
    skies, times their weights. "auto" takes both from the noise of the sky.
    """

    kind: Literal["lupton"] = "lupton"
    q: float = Field(8.0, gt=0, le=1e6, description="softening; larger shows more of the bright parts")
    stretch: Literal["auto"] | Annotated[float, Field(gt=0)] = Field(
        "auto",
        description="a mean of the channels of a tenth of this, above black, has brightness 0.1; in units of "
        "the image; `auto`: by the noise of the sky",
    )
    minimum: Literal["auto"] | float | tuple[float, float, float] = Field(
        "auto",
        description="black, above the sky, in units of the image; one value or one a channel; `auto`: by "
        "the noise of the sky",
    )


class ChannelStretch(Model):
    """An asinh stretch of each channel on its own, as AsinhStretch is for one image."""

    kind: Literal["asinh"] = "asinh"
    black_sigma: float = Field(
        1.5, ge=0, description="black is this far below the sky, in units of its noise"
    )
    softening_sigma: float = Field(
        4.0, gt=0, description="linear up to about this, in units of the noise of the sky"
    )
    white_percentile: float = Field(99.8, gt=50, le=100, description="white, percentile of the pixels, %")


class ColorSettings(Model):
    """Planes of one sky in several bands to one image of three channels."""

    grouping: BandGrouping = Field(description="which planes belong together")
    channels: tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]] = Field(
        description="red, green and blue: a band each, or several whose mean it is"
    )
    weights: Literal["noise"] | dict[str, Annotated[float, Field(gt=0)]] = Field(
        default_factory=dict,
        description="factor of each band; none: by the zero points of the headers, 1 where these lack; "
        "`noise`: one over the noise of its sky",
    )
    reference: str | None = Field(
        None, description="band whose pixel grid is kept; empty: the first of the green channel"
    )
    stretch: Annotated[LuptonStretch | ChannelStretch, Field(discriminator="kind")] = Field(
        LuptonStretch(), description="of bands to brightness"
    )

    @field_validator("channels", mode="before")
    @classmethod
    def _bands_or_band(cls, value: object) -> object:
        if isinstance(value, list | tuple):
            return tuple((channel,) if isinstance(channel, str) else channel for channel in value)
        return value

    @field_validator("channels")
    @classmethod
    def _named(cls, value: tuple[tuple[str, ...], ...]) -> tuple[tuple[str, ...], ...]:
        for channel in value:
            if not channel or "" in channel or len(set(channel)) < len(channel):
                raise ValueError(f"channel {list(channel)} must name one or more different bands")
        return value

    @model_validator(mode="after")
    def _bands_are_known(self) -> Self:
        used = ", ".join(self.bands)
        if self.reference is not None and self.reference not in self.bands:
            raise ValueError(f"reference {self.reference!r} is no band of channels, which have {used}")
        unknown = set(self.weights) - set(self.bands) if isinstance(self.weights, dict) else set()
        if unknown:
            raise ValueError(f"weights name {sorted(unknown)}, which channels lack; they have {used}")
        return self

    @property
    def bands(self) -> tuple[str, ...]:
        """All bands of the channels, in their order, each once."""
        return tuple(dict.fromkeys(band for channel in self.channels for band in channel))

    @property
    def reference_band(self) -> str:
        """The band whose pixel grid the image has."""
        return self.reference or self.channels[1][0]
