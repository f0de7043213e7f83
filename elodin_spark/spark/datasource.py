"""Images as a data source of Spark: ``spark.read.format("survey-images").load("archive/*.fits")``.

The rows are those of :func:`elodin_spark.read_images`, for sessions, SQL and tools that
speak of formats. Both list the files, deal them by bytes and read their headers with the
same functions.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import pyarrow as pa
from pydantic import Field, ValidationError
from pyspark.sql import SparkSession
from pyspark.sql.datasource import DataSource, DataSourceReader, InputPartition
from pyspark.sql.types import StructType

from elodin_spark import schema
from elodin_spark.config.base import Model, near_miss
from elodin_spark.config.settings import ImagesSettings
from elodin_spark.errors import ConfigError
from elodin_spark.images.listing import ImageFile, files_to_batches, list_files
from elodin_spark.spark.runner import SLICES_PER_CORE, pack
from elodin_spark.spark.tables import spark_schema

#: The name after ``format`` and ``USING``.
FORMAT = "survey-images"

#: Most files of a partition, unless ``slices`` says how many partitions there are: cores may join
#: a cluster after the source was registered.
FILES_PER_SLICE = 256

#: Rows of a batch: a batch of files is described before the first row of it is seen.
_ROWS = 64

#: Options that are settings of images, by the same name and with the same meaning.
_SETTINGS = ("root", "hdu", "bands", "mjd", "storage")


class _Reading(Model):
    """Options that say how it is read."""

    mode: Literal["PERMISSIVE", "FAILFAST"] = "PERMISSIVE"
    slices: int | None = Field(None, ge=1, le=1_000_000)


#: Every option.
OPTIONS = ("path", "paths", *_SETTINGS, *_Reading.model_fields)


class SourceOptions(NamedTuple):
    """What the options of a read say.

    Attributes
    ----------
    images : ImagesSettings
        Which files and planes.
    fail_fast : bool
        A bad file is an error, not a row.
    slices : int or None
        Number of partitions; None lets the source choose.
    """

    images: ImagesSettings
    fail_fast: bool
    slices: int | None


def parse_options(options: Mapping[str, str]) -> SourceOptions:
    """Validate the options of a read.

    Parameters
    ----------
    options : mapping of str to str
        As Spark passes them; names in any case. ``path`` is one folder, glob, file or
        ``@list.txt``, ``paths`` a JSON list of them (what Spark makes of ``load([a, b])``), ``mjd``
        two numbers, ``storage`` a JSON object.

    Returns
    -------
    SourceOptions

    Raises
    ------
    ConfigError
        An option is unknown (the near miss is named), has a bad value, or there is no path.
    """
    given = {name.lower(): value for name, value in options.items()}
    for name in given:
        if name not in OPTIONS:
            raise ConfigError(f"{FORMAT} has no option {name!r}: {near_miss(name, OPTIONS)}")
    paths = [given["path"]] if "path" in given else []
    if "paths" in given:
        paths += _json(given, "paths", list, 'a list of texts such as ["first", "second/*.fits"]')
    if not paths:
        raise ConfigError(
            f"{FORMAT} was given no path; name folders, globs or files, as in "
            f"spark.read.format({FORMAT!r}).load('archive/*.fits')"
        )
    values: dict[str, Any] = {"paths": paths}
    values |= {name: given[name] for name in ("root", "bands") if name in given}
    if "hdu" in given:
        text = given["hdu"].strip()
        values["hdu"] = int(text) if re.fullmatch(r"[+-]?\d+", text) else text or None
    if "mjd" in given:
        values["mjd"] = given["mjd"].strip().strip("[]()").split(",")
    if "storage" in given:
        values["storage"] = _json(given, "storage", dict, 'an object such as {"anon": true}')
    reading = {name: given[name] for name in _Reading.model_fields if name in given}
    if "mode" in reading:
        reading["mode"] = reading["mode"].upper()
    try:
        how = _Reading.model_validate(reading)
        return SourceOptions(ImagesSettings.model_validate(values), how.mode == "FAILFAST", how.slices)
    except ValidationError as error:
        # The first of each option: the others are what else a union may have been.
        firsts = {str(item["loc"][0]): item for item in reversed(error.errors())}
        raise ConfigError(
            "; ".join(
                f"option {name!r} of {FORMAT}: {item['msg']} (got {given.get(name, item['input'])!r})"
                for name, item in firsts.items()
            )
        ) from None


def _json(given: Mapping[str, str], name: str, kind: type, form: str) -> Any:
    try:
        value = json.loads(given[name])
    except ValueError:
        value = None
    if not isinstance(value, kind):
        raise ConfigError(f"option {name!r} of {FORMAT} is JSON, {form} (got {given[name]!r})")
    return value


class FilesPartition(InputPartition):
    """The files of one task.

    Parameters
    ----------
    files : list of (str, str, int)
        Rows of :data:`elodin_spark.schema.FILES`.
    """

    def __init__(self, files: list[tuple[str, str, int]]) -> None:
        super().__init__(None)
        self.files = files


class SurveyImagesReader(DataSourceReader):
    """Lists files on the driver, reads headers on the executors.

    It holds the options and no file: each task receives it with its own partition.

    Parameters
    ----------
    options : SourceOptions
    parallelism : int
        Cores that the session had when the source was registered.
    nullable : sequence of bool, optional
        For each column, whether Spark takes it for one that may be null; by default those that may be.
    """

    def __init__(
        self, options: SourceOptions, parallelism: int, nullable: Sequence[bool] | None = None
    ) -> None:
        self._options = options
        self._parallelism = parallelism
        self._nullable = tuple(nullable or (field.nullable for field in schema.IMAGES))

    def partitions(self) -> list[InputPartition]:  # type: ignore[override]
        """Deal the files, evenly by bytes.

        Raises
        ------
        InputError
            A path is missing, or there is no image in it.
        """
        images, _, slices = self._options
        files = list_files(images.paths, images.root, images.storage)
        if slices is None:
            slices = max(SLICES_PER_CORE * self._parallelism, -(-len(files) // FILES_PER_SLICE))
        return [FilesPartition(part) for part in pack(files, slices)]

    def read(self, partition: InputPartition) -> Iterator[pa.RecordBatch]:
        """Describe the files of a partition: batches of :data:`elodin_spark.schema.IMAGES`.

        Raises
        ------
        ImageError
            With mode FAILFAST: a file cannot be described.
        """
        # Here only: the processes that plan a query import this module for each one.
        from elodin_spark.images.stage import DescribeSpec

        assert isinstance(partition, FilesPartition)
        spec = DescribeSpec.from_settings(self._options.images, self._options.fail_fast)
        files = (ImageFile(*file) for file in partition.files)
        # Spark 4.3 compares this too.
        columns = pa.schema(
            [field.with_nullable(null) for field, null in zip(schema.IMAGES, self._nullable, strict=True)]
        )
        for batch in spec.build(str)(files_to_batches(files, _ROWS)):
            yield pa.RecordBatch.from_arrays(batch.columns, schema=columns)


class SurveyImages(DataSource):
    """The data source; :func:`register_data_source` makes it known to a session."""

    #: See :class:`SurveyImagesReader`.
    parallelism = 1

    @classmethod
    def name(cls) -> str:
        """As used in ``format``."""
        return FORMAT

    def schema(self) -> StructType:
        """Render :data:`elodin_spark.schema.IMAGES`; here, when ``load`` is called, options are checked."""
        parse_options(self.options)
        return spark_schema(schema.IMAGES)

    def reader(self, schema: StructType) -> SurveyImagesReader:
        """Make the reader.

        Raises
        ------
        ConfigError
            The user gave another schema, or see :func:`parse_options`.
        """
        options = parse_options(self.options)
        _require_own(schema)
        return SurveyImagesReader(options, self.parallelism, [field.nullable for field in schema])


def _require_own(given: StructType) -> None:
    own = spark_schema(schema.IMAGES)
    # Spark makes every column of a schema it is given nullable.
    if [(field.name, field.dataType) for field in given] != [(field.name, field.dataType) for field in own]:
        raise ConfigError(
            f"the columns of {FORMAT} are fixed ({', '.join(own.names)}), and the schema that was given "
            f"has {', '.join(given.names) or 'none'}; leave out .schema(...) and select what you need"
        )


def register_data_source(spark: SparkSession) -> None:
    """Make ``spark.read.format("survey-images")`` known to a session.

    :func:`elodin_spark.session` does this; call it for a session that was made elsewhere, in a
    notebook of a cluster say. Executors must be able to import elodin_spark.

    Parameters
    ----------
    spark : pyspark.sql.SparkSession
        The number of its cores now decides how many partitions there are, unless the
        option ``slices`` does.

    Examples
    --------
    >>> from elodin_spark import register_data_source, session
    >>> with session(data_source=False) as spark:
    ...     register_data_source(spark)
    ...     spark.read.format("survey-images").option("hdu", "IMAGE").load("survey/tiles").count()
    4
    """
    # The class travels to the process that plans a query, in which there is no session to ask.
    known = type(FORMAT, (SurveyImages,), {"parallelism": spark.sparkContext.defaultParallelism})
    # Spark refuses a name that another session has as long as that one is active; this changes it.
    spark.createDataFrame([], "nothing INT")
    spark.dataSource.register(known)
