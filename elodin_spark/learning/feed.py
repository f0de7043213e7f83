"""The feed of a training: cutouts as batches of images, in an order that a seed names.

petastorm reads the row groups where it is installed, and Arrow otherwise; which rows there are, shards,
epochs and batches are the same. This is the one module that imports petastorm.
"""

from __future__ import annotations

import itertools
import logging
import re
import warnings
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from elodin_spark.config.feed import FeedReader, FeedSettings
from elodin_spark.errors import ConfigError, ElodinError, ImageError, InputError, MissingDependencyError
from elodin_spark.fingerprints.runtimes.framework import installed, load_tensorflow
from elodin_spark.learning.cutoutset import CutoutSet
from elodin_spark.learning.decode import Decoder
from elodin_spark.learning.readers import Pass, arrow_pass, readable, shuffled

log = logging.getLogger(__name__)

#: ``(images,)`` or ``(images, labels)``, as Keras takes them.
Batch: TypeAlias = tuple[NDArray[Any], ...]
#: Image, or pixels; their shape; label.
_Row: TypeAlias = tuple[bytes | None, str | None, Any]
_Decoded: TypeAlias = tuple[NDArray[np.uint8] | ImageError, Any]

#: Streams of random numbers of an epoch.
_GROUPS, _ROWS = 0, 1


class Feed:
    """Batches of images of one size.

    Each ``iter(feed)`` starts anew with the first epoch, whatever was read before: with one seed, reader
    and shard the batches are the same ones. What cannot be decoded is skipped and counted.

    Parameters
    ----------
    cutouts : CutoutSet
    settings : FeedSettings, optional
    shard, shards : int
        Of several readers at once, each has its own `shard`, from 0. Row groups are dealt to them by turns.

    Attributes
    ----------
    reader : {"petastorm", "arrow"}
        What reads.
    skipped : dict of str to int
        Cutouts of the latest epoch that could not be decoded, by kind of
        :class:`~elodin_spark.errors.ImageError`; whole when that epoch is.

    Raises
    ------
    ConfigError
        There is no such shard.
    InputError
        There are fewer row groups than shards.
    MissingDependencyError
        petastorm is asked for by name and cannot be imported.

    Examples
    --------
    >>> feed = Feed(CutoutSet.read("cutouts"), FeedSettings(side_px=64, epochs=3))  # doctest: +SKIP
    >>> model.fit(feed.for_keras())                                                 # doctest: +SKIP
    """

    def __init__(
        self, cutouts: CutoutSet, settings: FeedSettings | None = None, *, shard: int = 0, shards: int = 1
    ) -> None:
        self.cutouts = cutouts
        self.settings = settings or FeedSettings()
        if not 0 <= shard < shards:
            raise ConfigError(f"shard {shard} of {shards}: shards are numbered from 0 to {shards - 1}")
        if len(cutouts.row_groups) < shards:
            raise InputError(
                f"{cutouts.files[0]}: {len(cutouts.row_groups)} row groups are too few for {shards} shards; "
                "write the files with smaller row groups, or read with fewer shards"
            )
        self.shard, self.shards = shard, shards
        self.skipped: dict[str, int] = {}
        self._logged: dict[str, int] = {}
        self._decoder = Decoder(self.settings.side_px, self.settings.channels)
        self.reader = choose_reader(self.settings.reader, cutouts.files)
        self._pass: Pass = petastorm_pass if self.reader == "petastorm" else arrow_pass

    def __iter__(self) -> Iterator[Batch]:
        """All epochs; see :meth:`epoch`."""
        epochs = self.settings.epochs
        for number in itertools.count() if epochs is None else range(epochs):
            yield from self.epoch(number)

    def epoch(self, number: int) -> Iterator[Batch]:
        """Batches of one epoch, from 0; a training that goes on needs not read those before.

        Yields
        ------
        images : ndarray of uint8, shape (n, side_px, side_px, channels)
            n is ``batch_size``; in the last batch it may be less.
        labels : ndarray of int64 or str, shape (n,)
            Where the set has a column of labels; -1, or an empty string, is none.

        Raises
        ------
        InputError
            None of the shard's cutouts can be decoded, or with ``drop_last`` they fill no batch.
        """
        skipped: Counter[str] = Counter()
        self.skipped = {}
        size, count, first = self.settings.batch_size, 0, ""
        held: list[tuple[NDArray[np.uint8], Any]] = []
        for image, label in self._decoded(self._rows(number)):
            if isinstance(image, ImageError):
                first = first or str(image)
                skipped[image.kind] += 1
                self.skipped = dict(skipped)
                continue
            held.append((image, label))
            count += 1
            if len(held) == size:
                yield self._batch(held)
                held = []
        self._report(count, first)
        if self.settings.drop_last and count < size:
            raise InputError(
                f"{self._place()}: {count} images fill no batch of {size}: set a smaller batch_size, or "
                "drop_last to false"
            )
        if held and not self.settings.drop_last:
            yield self._batch(held)

    def dataset(self) -> Any:
        """The same batches as ``tf.data.Dataset``, the next one made while one is used.

        Returns
        -------
        tf.data.Dataset
            What this feed raises, TensorFlow raises as an error of its own with the same text.

        Raises
        ------
        MissingDependencyError
            TensorFlow is not installed.
        """
        tf = load_tensorflow()
        rows = self.settings.batch_size if self.settings.drop_last else None
        side, channels = self.settings.side_px, self.settings.channels
        signature: tuple[Any, ...] = (tf.TensorSpec((rows, side, side, channels), tf.uint8),)
        if self.cutouts.label is not None:
            signature += (tf.TensorSpec((rows,), tf.string if self.cutouts.text_labels else tf.int64),)
        return tf.data.Dataset.from_generator(lambda: iter(self), output_signature=signature).prefetch(1)

    def for_keras(self) -> Any:
        """What ``fit`` takes: :meth:`dataset` where TensorFlow is installed, otherwise an iterator."""
        return self.dataset() if installed("tensorflow") else iter(self)

    def _rows(self, epoch: int) -> Iterator[_Row]:
        """Rows of one epoch in their order."""
        groups = self._stream(epoch, _GROUPS)
        # petastorm takes 0 for no seed.
        seed = int(groups.integers(1, 2**31)) if self.settings.shuffle else None
        rows = _each_row(self._pass(self.cutouts, self.shard, self.shards, seed))
        if not self.settings.shuffle:
            return rows
        return shuffled(rows, self.settings.buffer_rows, self._stream(epoch, _ROWS))

    def _stream(self, epoch: int, purpose: int) -> np.random.Generator:
        return np.random.default_rng((self.settings.seed, epoch, self.shard, purpose))

    def _decode(self, row: _Row) -> _Decoded:
        content, shape, label = row
        try:
            return self._decoder(content, shape), label
        except ImageError as error:
            return error, label

    def _decoded(self, rows: Iterator[_Row]) -> Iterator[_Decoded]:
        if not self.settings.threads:
            yield from map(self._decode, rows)
            return
        # So much is decoded ahead of the training, in order.
        ahead = 2 * self.settings.batch_size
        pending: deque[Future[_Decoded]] = deque()
        pool = ThreadPoolExecutor(self.settings.threads, "elodin-feed")
        try:
            for row in rows:
                pending.append(pool.submit(self._decode, row))
                if len(pending) > ahead:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)

    def _batch(self, held: list[tuple[NDArray[np.uint8], Any]]) -> Batch:
        images = np.stack([image for image, _ in held])
        if self.cutouts.label is None:
            return (images,)
        kind: type = str if self.cutouts.text_labels else np.int64
        return images, np.array([label for _, label in held], kind)

    def _report(self, count: int, first: str) -> None:
        """Say once what was skipped, and refuse a shard of nothing else."""
        lost = sum(self.skipped.values())
        kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(self.skipped.items()))
        if not count:
            what = f"none of {lost} cutouts can be decoded ({kinds}), the first because {first}"
            raise InputError(
                f"{self._place()}: {what if lost else 'no row counts'}; name the column that holds their "
                "images, or write the files again"
            )
        if lost and self.skipped != self._logged:
            log.warning(
                "%s: skipped %d of %d cutouts (%s), the first because %s",
                *(self._place(), lost, lost + count, kinds, first),
            )
            self._logged = self.skipped

    def _place(self) -> str:
        shard = f", shard {self.shard} of {self.shards}" if self.shards > 1 else ""
        return f"column {self.cutouts.image} of {self.cutouts.files[0]}{shard}"


def _each_row(frames: Iterator[pd.DataFrame]) -> Iterator[_Row]:
    for frame in frames:
        nothing = [None] * len(frame)
        columns = [frame.get(name, nothing) for name in ("image", "shape", "label")]
        yield from zip(*columns, strict=True)


# ---- petastorm -------------------------------------------------------------------------------


def choose_reader(asked: FeedReader, files: Sequence[str]) -> FeedReader:
    """What reads some files where `asked` is asked for: ``petastorm`` or ``arrow``.

    Raises
    ------
    MissingDependencyError
        petastorm is asked for by name and cannot be imported.
    InputError
        It is asked for by name, and takes a part of a file's path for one of a URL.
    """
    if asked == "arrow" or (asked == "auto" and not installed("petastorm")):
        return "arrow"
    try:
        load_petastorm()
        if odd := next((file for file in files if "#" in file or "?" in file), None):
            raise InputError(
                f"{odd}: petastorm reads no path with # or ?: rename it, or set the feed's reader to arrow"
            )
    except (MissingDependencyError, InputError) as error:
        if asked == "petastorm":
            raise
        log.info("the feed reads with Arrow: %s", error)
        return "arrow"
    return "petastorm"


def load_petastorm() -> Any:
    """Import petastorm.

    Raises
    ------
    MissingDependencyError
        It is not installed, or is broken by newer packages around it.
    """
    # At each call it warns of its own use of what is deprecated, and of columns that are not read.
    for category in (FutureWarning, DeprecationWarning, UserWarning):
        warnings.filterwarnings("ignore", category=category, module=r"petastorm\.")
    try:
        import petastorm
        import petastorm.transform
        from pyarrow.parquet import ParquetDatasetPiece  # noqa: F401 - without which it starts, and then fails
    except (ImportError, AttributeError) as error:
        raise MissingDependencyError(
            f'petastorm cannot be imported ({error}): pip install "elodin_spark[petastorm]", or set the '
            "feed's reader to arrow"
        ) from error
    return petastorm


def petastorm_pass(cutouts: CutoutSet, shard: int, shards: int, seed: int | None) -> Iterator[pd.DataFrame]:
    """Read by petastorm's ``make_batch_reader``; see :class:`~elodin_spark.learning.readers.Pass`."""
    petastorm = load_petastorm()
    kinds: dict[str, Any] = {"image": np.bytes_}
    if cutouts.raw:
        kinds["shape"] = np.str_
    if cutouts.label is not None:
        kinds["label"] = np.str_ if cutouts.text_labels else np.int64
    # Of a row group without rows nothing would come: one more row counts the group.
    values = {"image": None, "shape": "", "label": "" if cutouts.text_labels else -1}
    end = pd.DataFrame({name: pd.Series([values[name]], dtype=_held_as(kinds[name])) for name in kinds})

    def tidy(rows: pd.DataFrame) -> pd.DataFrame:
        return pd.concat([cutouts.tidy(rows), end], ignore_index=True)

    reader = petastorm.make_batch_reader(
        [f"file://{file}" for file in cutouts.files],
        schema_fields=[f"^{re.escape(name)}$" for name in cutouts.columns],
        # Of several workers the order is not settled.
        workers_count=1,
        results_queue_size=5,
        seed=seed,
        shuffle_row_groups=seed is not None,
        cur_shard=shard,
        shard_count=shards,
        transform_spec=petastorm.transform.TransformSpec(
            tidy,
            edit_fields=[(name, kind, (), name == "image") for name, kind in kinds.items()],
            selected_fields=list(kinds),
        ),
    )
    try:
        for _ in cutouts.row_groups[shard::shards]:
            # The pool takes a queue that is still being filled for one that is done, but not twice.
            with readable(f"a row group of {cutouts.files[0]}, or of a file beside it,"):
                part = next(itertools.chain(reader, reader), None)
            if part is None:
                raise ElodinError(
                    f"petastorm left out row groups of {cutouts.files[0]}: set the feed's reader to arrow"
                )
            yield pd.DataFrame(part._asdict())[:-1]
    finally:
        reader.stop()
        reader.join()


def _held_as(kind: type) -> type:
    return kind if kind is np.int64 else object


def petastorm_folder(frame: Any, folder: Path, row_group_bytes: int) -> Path:
    """Write a Spark DataFrame as Parquet by petastorm's dataset converter.

    Parameters
    ----------
    frame : pyspark.sql.DataFrame
    folder : Path
        In which the files go, in a folder of their own. petastorm keeps it for the next time that the same
        DataFrame comes, and deletes it when Python exits.
    row_group_bytes : int

    Returns
    -------
    Path
        The folder of the files.
    """
    load_petastorm()
    from petastorm.spark import SparkDatasetConverter, make_spark_converter

    # The folder of petastorm's cache is known to the session alone; others may use it with their own.
    conf, key = frame.sparkSession.conf, SparkDatasetConverter.PARENT_CACHE_DIR_URL_CONF
    before = conf.get(key, None)
    conf.set(key, f"file://{folder}")
    try:
        converter = make_spark_converter(frame, row_group_bytes, compression_codec="snappy", dtype=None)
    finally:
        conf.unset(key) if before is None else conf.set(key, before)
    return Path(str(converter.cache_dir_url).removeprefix("file://"))
