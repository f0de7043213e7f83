"""Which neighbors are wanted: the model that the command line, the job and keyword arguments are made of."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, get_args, get_origin

from pydantic import BeforeValidator, Field, ValidationError

from elodin_spark.catalog.search.coordinates import arcsec_of, degrees_of
from elodin_spark.config.base import Model, parts_of
from elodin_spark.config.mistakes import explain
from elodin_spark.config.settings import Metric
from elodin_spark.errors import InputError

#: What becomes of known repeats.
RepeatsRule = Literal["keep", "leave-out", "group"]
_HALF_TURN = 648_000  # arcsec
#: An angle in arcsec, also from a Quantity.
Arcsec = Annotated[float, Field(gt=0, le=_HALF_TURN), BeforeValidator(arcsec_of)]
FileName = Annotated[str, BeforeValidator(lambda file: str(file) if isinstance(file, Path) else file)]

_F = TypeVar("_F", bound=Callable[..., Any])


class _Asked(Model):
    """A model that people make themselves: a mistake is an :class:`InputError` that names the option."""

    def __init__(self, /, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise InputError(explain(error, type(self))) from None


class Cone(_Asked):
    """A circle on the sky.

    Examples
    --------
    >>> Cone.of(((150.1, 2.2), 1800)) == Cone(ra=150.1, dec=2.2, radius_arcsec=1800)
    True
    """

    ra: float = Field(description="of its center, ICRS, deg")
    dec: float = Field(ge=-90, le=90, description="of its center, ICRS, deg")
    radius_arcsec: Arcsec = Field(description="a Quantity, or arcsec")

    @classmethod
    def of(cls, value: Any) -> Any:
        """A cone of a pair: a position (SkyCoord, or RA and Dec in deg), and a radius (Quantity, or arcsec).

        Raises
        ------
        InputError
            It is no such pair, or out of range.
        """
        if value is None or isinstance(value, Cone | Mapping):
            return value
        try:
            position, radius = value
        except (TypeError, ValueError):
            raise InputError(
                "a cone is (position, radius): a SkyCoord, or RA and Dec in degrees, and a Quantity, or "
                f"arcsec, such as ((150.1, 2.2), 1800); got {value!r}"
            ) from None
        ra, dec = degrees_of(position)
        return cls(ra=ra, dec=dec, radius_arcsec=radius)


class SearchOptions(_Asked):
    """Which neighbors are wanted.

    Examples
    --------
    >>> SearchOptions(k=20, metric="jaccard", cone=((150.1, 2.2), 1800)).cone.radius_arcsec
    1800.0
    """

    k: int | None = Field(
        None, ge=1, description="how many; fewer come back only where the catalog holds no more; empty: "
        "`neighbors.k` of the catalog",
    )  # fmt: skip
    metric: Metric = Field(
        "l2",
        description="`l2` or `cosine`, of the vectors; `jaccard`, of the label sets; `label_scores`, of the "
        "scores of labels; `rank_fusion`, of the ranks by l2 and jaccard",
    )
    allow_overlap: bool = Field(
        False, description="keep windows that share pixels of an image with the query or a nearer neighbor"
    )
    min_separation_arcsec: Arcsec | None = Field(
        None,
        description="leave out cutouts whose center is this near to that of the query or a nearer neighbor",
    )
    cone: Annotated[Cone, BeforeValidator(Cone.of)] | None = Field(
        None, description="only cutouts whose center lies in this circle"
    )
    moc: FileName | None = Field(
        None, description="only cutouts whose center lies in the coverage map (MOC) of this file"
    )
    where: str | None = Field(None, description="only cutouts that meet this condition")
    repeats: RepeatsRule = Field(
        "keep",
        description="known repeats of the query or of a nearer neighbor: `leave-out`; or `group`: list those "
        "of a neighbor with it",
    )
    fold_duplicates: bool = Field(
        False, description="list cutouts whose vectors are the same with the nearest of them"
    )
    explain: bool = Field(False, description="name the rarest labels that each shares with the query")

    def but(self, **values: Any) -> SearchOptions:
        """The same with other values of some options, which are checked."""
        return SearchOptions(**{**dict(self), **values})


def with_search_options(function: _F) -> _F:
    """Show the options in the signature of a function that takes them as ``**options``.

    Help texts and completion read it.
    """
    signature = inspect.signature(function)
    given = [p for p in signature.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
    names = {parameter.name for parameter in given}
    options = [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=field.annotation
        )
        for name, field in SearchOptions.model_fields.items()
        if name not in names
    ]
    function.__signature__ = signature.replace(parameters=[*given, *options])  # type: ignore[attr-defined]
    return function


class Flag(NamedTuple):
    """An option as it is typed in a shell.

    Attributes
    ----------
    name : str
        Of the option.
    flag : str
    kind : type
        bool, int, float, str or :class:`Cone`, which is three numbers: RA and Dec in deg, radius in arcsec.
    metavar : str or None
    help : str
    choices : tuple of str
        Empty where anything is taken.
    default : object
    """

    name: str
    flag: str
    kind: type
    metavar: str | None
    help: str
    choices: tuple[str, ...]
    default: Any


_METAVARS = {
    "k": "N",
    "min_separation_arcsec": "ARCSEC",
    "cone": "RA DEC ARCSEC",
    "moc": "FILE",
    "where": "CONDITION",
}


def search_flags() -> list[Flag]:
    """All search options as flags of a command."""
    flags = []
    for name, field in SearchOptions.model_fields.items():
        choices = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
        kinds = [kind for kind in parts_of(field.annotation) if kind is not type(None)]
        words = name.removesuffix("_arcsec").replace("_", "-")
        help_text = (field.description or "").replace("`", "")
        flags.append(
            Flag(
                name,
                f"-{words}" if len(words) == 1 else f"--{words}",
                str if choices else kinds[0],
                _METAVARS.get(name),
                f"{help_text[:1].upper()}{help_text[1:]}.",
                choices,
                field.default,
            )
        )
    return flags


def options_of_flags(values: Mapping[str, Any]) -> SearchOptions:
    """The options of what was typed, by their names; other values are passed over.

    Raises
    ------
    InputError
        One is out of range.
    """
    typed = {name: values[name] for name in SearchOptions.model_fields}
    typed |= {
        name: str(typed[name]) for name in ("metric", "repeats")
    }  # in place of members of an enumeration
    if typed["cone"] is not None:
        ra, dec, radius = typed["cone"]
        typed["cone"] = ((ra, dec), radius)
    return SearchOptions(**typed)
