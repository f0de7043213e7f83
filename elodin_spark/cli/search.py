"""How a search is typed: the flags of its options, and the one query."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from elodin_spark.catalog.search.options import Cone, search_flags
from elodin_spark.errors import InputError

if TYPE_CHECKING:
    from elodin_spark.catalog.search.query import Query


def with_search_flags(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the flags of all search options, in place of its ``**options``."""
    signature = inspect.signature(command, eval_str=True)
    of_words: Any = StrEnum  # whose members mypy cannot know
    parameters = [p for p in signature.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
    for flag in search_flags():
        made: Any = tuple[float, float, float] if flag.kind is Cone else flag.kind
        if flag.choices:
            made = of_words(flag.name, {choice: choice for choice in flag.choices})
        option = typer.Option(flag.flag, metavar=flag.metavar, help=flag.help)
        annotation: Any = Annotated[made if flag.default is not None else made | None, option]
        default = made(flag.default) if flag.choices else flag.default
        parameters.append(
            inspect.Parameter(
                flag.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
            )
        )
    command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in parameters} | {"return": None}
    return command


def query_of(
    cutout_ids: list[int] | None,
    position: tuple[float, float] | None,
    radius: float | None,
    at: str | None,
    vector: Path | None,
    image: str | None,
) -> Query:
    """The one query that was typed."""
    from elodin_spark.catalog.search.query import Query

    ways: dict[str, tuple[Any, Callable[[Any], Query]]] = {
        "CUTOUT_ID": (cutout_ids, Query.from_id),
        "--position": (position, lambda place: Query.from_position(place, radius)),
        "--at": (at, Query.from_pixel),
        "--vector": (vector, Query.from_vector),
        "--image": (image, Query.from_image),
    }
    typed = [name for name, (value, _) in ways.items() if value is not None]
    if len(typed) != 1:
        got = f"{' and '.join(typed)} together" if typed else "nothing"
        raise InputError(f"neighbors are asked of one of {', '.join(ways)}; got {got}")
    if radius is not None and position is None:
        raise InputError("--radius goes with --position")
    value, make = ways[typed[0]]
    return make(value)
