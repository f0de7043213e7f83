"""Which network fits an archive: several held against each other on a sample of its own windows."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elodin_spark.catalog.build.sample import SampledCutout, sample_cutouts
from elodin_spark.config.load import apply_override, load_config, parse_settings, read_values
from elodin_spark.config.mistakes import of_network
from elodin_spark.config.settings import FingerprintsSettings, Settings
from elodin_spark.config.shipped import JOINED_AUGMENTATIONS, JOINED_FACTOR, LITE, SURVEY
from elodin_spark.config.transform import AUTO_COPIES, AUTO_POWER, AUTO_TRANSFORM
from elodin_spark.config.yamltext import write_yaml
from elodin_spark.errors import ConfigError, InputError, WeightsError
from elodin_spark.fingerprints.copies import COPIES, copies, learned_copy
from elodin_spark.fingerprints.resolve import resolve_network
from elodin_spark.fingerprints.runtimes.factory import release_runtimes
from elodin_spark.fingerprints.runtimes.network import settings_lengths
from elodin_spark.fingerprints.stage import FingerprintSpec
from elodin_spark.fingerprints.transform import FEWEST, Copied, VectorTransform, few_windows, shares
from elodin_spark.fingerprints.weights.resolve import resolve_settings
from elodin_spark.fingerprints.windows import resize_window
from elodin_spark.images.listing import list_files
from elodin_spark.learning.quality import (
    NEIGHBORS,
    Score,
    l2_index,
    mean_score,
    nearest_others,
    retrieval,
    shares_of_same,
)
from elodin_spark.planning.labelfile import LabelFile
from elodin_spark.progress import Progress, counted, step

#: Windows of the sample.
SAMPLE = 300
#: Cutouts that are copied, at most.
COPIED = 100
#: Fewer windows are no sample: neighbors of all would be nearly all.
FEWEST_WINDOWS = 2 * NEIGHBORS
#: Fewer labeled windows make scores that say little.
FEW_LABELED = 50
#: Queries of the figure, and neighbors of each by each choice.
QUERIES, SHOWN = 6, 8
#: Of too few windows, without labels and with them.
_REMEDY = ("Correct images.paths or cutouts.generator", "Label more images")
#: Images and labels that a note names.
_NAMED = 3
#: Side of the pictures of the figure, px.
_PICTURE_PX = 160

#: Settings of ``fingerprints`` that say which networks these are.
_OF_NETWORK = (
    "weights",
    "backbone",
    "weights_sha256",
    "weights_storage",
    "input_px",
    "layer",
    "augmentations",
    "networks",
    "int8_model",
    "mode",
)
#: What they are where they are left out, if that is not null.
_LEFT_OUT: dict[str, Any] = {"networks": [], "weights_storage": {}, "mode": "window"}

#: What is asked of the copies: all of them together, or one kind.
KINDS = ("all", *COPIES)

Matrix = NDArray[np.float32]


@dataclass(frozen=True)
class Choice:
    """Networks that could be taken.

    Attributes
    ----------
    name : str
        For tables and figures.
    network : dict
        Settings of ``fingerprints`` that name them.
    configured : bool
        They are what the configuration names.
    """

    name: str
    network: dict[str, Any]
    configured: bool = False


@dataclass(frozen=True)
class Row:
    """What one choice makes of the sample.

    Attributes
    ----------
    choice : Choice
    precision : Score or None
        Mean by class of the share of the 10 nearest windows that are of the class; None without labels.
    found : dict of str to Score
        Share of the cutouts whose copies are found before all else: ``all`` of them, and by kind.
    windows_per_s : float
        Of processor time, in one thread.
    length : int
        Of the vector.
    settings : str
        YAML to put into the configuration; empty where that names this choice.
    near : ndarray of int64, shape (queries, k)
        Rows of the nearest neighbors of each query.
    """

    choice: Choice
    precision: Score | None
    found: dict[str, Score]
    windows_per_s: float
    length: int
    settings: str
    near: NDArray[np.int64]


@dataclass(frozen=True)
class Comparison:
    """Choices held against each other.

    Attributes
    ----------
    rows : tuple of Row
    skipped : tuple of str
        Choices that could not be tried, and why.
    notes : tuple of str
        What is to be known of the scores.
    cutouts : tuple of SampledCutout
        The sample.
    labels : tuple of str or None
        Classes of these; None without labels.
    queries : tuple of int
        Rows of the sample that the figure shows.
    seed : int
    """

    rows: tuple[Row, ...]
    skipped: tuple[str, ...]
    notes: tuple[str, ...]
    cutouts: tuple[SampledCutout, ...]
    labels: tuple[str, ...] | None
    queries: tuple[int, ...]
    seed: int


def compare_config(
    config: str | Path,
    overrides: Sequence[str] = (),
    *,
    sample: int = SAMPLE,
    labels: LabelFile | None = None,
) -> Comparison:
    """Compare the networks of the package, and those of a configuration, on its archive.

    Parameters
    ----------
    config : str or Path
        YAML with at least `images.paths`.
    overrides : sequence of str
        ``section.key=value``.
    sample : int
        Windows to cut.
    labels : LabelFile, optional
        Classes of images or cutouts: only these are then sampled.

    Returns
    -------
    Comparison

    Raises
    ------
    ConfigError, InputError
        As :func:`compare_networks`, and for wrong settings.
    WeightsError
        None of the networks is at hand.
    """
    settings = load_config(config, overrides)
    values = read_values(Path(config))
    for override in overrides:
        apply_override(values, override)
    named = {name: value for name, value in (values.get("fingerprints") or {}).items() if value is not None}
    return compare_networks(settings, choices_of(settings, named), sample=sample, labels=labels, named=named)


def choices_of(settings: Settings, named: dict[str, Any]) -> list[Choice]:
    """The networks of the package, both joined, and what the settings name if it is none of these.

    Parameters
    ----------
    settings : Settings
    named : dict
        What the configuration itself says in ``fingerprints``.
    """
    joined = {
        "weights": SURVEY,
        "augmentations": JOINED_AUGMENTATIONS,
        "networks": [{"weights": LITE, "factor": JOINED_FACTOR}],
    }
    offered = [
        Choice(SURVEY, {"weights": SURVEY}),
        Choice(LITE, {"weights": LITE}),
        Choice(f"{SURVEY} + {LITE}", joined),
    ]
    own = {name: named[name] for name in _OF_NETWORK if name in named and name != "mode"}
    if settings.fingerprints.mode == "dense":
        own |= {"networks": [], **_dense(settings)}
    mine = _identity(_with_network(settings.fingerprints, own))
    found = [replace(one, configured=_is(one, settings.fingerprints, mine)) for one in offered]
    if any(one.configured for one in found):
        return found
    title = " + ".join(part.weights.rpartition("/")[2] for part in settings.fingerprints.parts)
    taken = {one.name for one in found}
    return [*found, Choice(f"{title}, as configured" if title in taken else title, own, configured=True)]


def compare_networks(
    settings: Settings,
    choices: Sequence[Choice],
    *,
    sample: int = SAMPLE,
    labels: LabelFile | None = None,
    named: dict[str, Any] | None = None,
) -> Comparison:
    """Compare networks on a sample of an archive.

    Each network sees the sample once, in one thread, and joined ones take the vectors of their parts. Vectors
    are transformed as a new catalog of these settings does, fitted to the sample.

    Parameters
    ----------
    settings : Settings
        Of the archive, its windows and the transform. Precision ``auto`` and ``int8`` count as ``f32``.
    choices : sequence of Choice
    sample : int
        Windows to cut.
    labels : LabelFile, optional
    named : dict, optional
        What the configuration says in ``fingerprints``, so that the settings of a choice undo it.

    Returns
    -------
    Comparison

    Raises
    ------
    InputError
        No labels match, or they leave fewer than two classes; or there are too few windows.
    ConfigError
        None of the choices can be taken with these settings.
    WeightsError
        None of the networks is at hand.
    """
    cutouts, unused = _cut(settings, sample, labels)
    classes = None if labels is None else _classes(cutouts, labels)
    objects = _objects(cutouts)
    scored = None if classes is None else _scored(classes, objects, labels)
    windows = [cutout.window for cutout in cutouts]
    chosen = windows[:COPIED]
    made = [copies(chosen, kind, settings.seed) for kind in COPIES]
    learned = _learned(len(windows), _with_network(settings.fingerprints, {"weights": SURVEY}).copies or 0)
    everything = [
        *windows,
        *(copy for some in made for copy in some),
        *(learned_copy(windows[row], cutouts[row].cutout_id) for row in learned),
    ]
    queries = _queries(len(cutouts), classes)
    seen: dict[tuple[Any, ...], _Seen] = {}
    rows: list[Row] = []
    failures: list[ConfigError | WeightsError] = []
    skipped: list[str] = []
    for choice in choices:
        try:
            network = _with_network(settings.fingerprints, choice.network)
            parts = []
            for number, part in enumerate(network.parts):
                with of_network(number):
                    parts.append(_seen(part, everything, seen))
        except (ConfigError, WeightsError) as error:
            failures.append(error)
            skipped.append(f"{choice.name} is left out: {error}")
            continue
        with step(f"scoring {choice.name}"):
            raw = np.hstack([part.vectors for part in parts])
            raw, bearing = raw[: len(raw) - len(learned)], Copied(learned, raw[len(raw) - len(learned) :])
            vectors = _transformed(network, raw, len(windows), bearing, settings)
            originals, copied = vectors[: len(windows)], vectors[len(windows) :]
            index = l2_index(originals)
            rows.append(
                Row(
                    choice,
                    None
                    if classes is None or scored is None
                    else _precision(
                        nearest_others(index, NEIGHBORS, objects), classes, objects, scored, settings
                    ),
                    _found(originals[: len(chosen)], copied, objects, settings.seed),
                    1 / sum(part.seconds for part in parts),
                    vectors.shape[1],
                    "" if choice.configured else _lines(choice, named or {}),
                    nearest_others(index, SHOWN, objects, rows=np.array(queries)),
                )
            )
    release_runtimes()
    if not rows:
        raise failures[0]
    return Comparison(
        tuple(rows),
        tuple(skipped),
        (*unused, *_notes(settings, sample, cutouts, classes, scored)),
        tuple(cutouts),
        None if classes is None else tuple(classes),
        tuple(queries),
        settings.seed,
    )


@dataclass(frozen=True)
class _Seen:
    """What one network made of the sample and its copies."""

    vectors: Matrix
    seconds: float = field(compare=False)  # of processor time, for a window


def _cut(settings: Settings, count: int, labels: LabelFile | None) -> tuple[list[SampledCutout], list[str]]:
    """The sample, and notes of images and labels that are of no use."""
    files = list_files(settings.images.paths, settings.images.root, settings.images.storage)
    pictures = settings.cutouts.model_copy(update={"thumbnail_px": _PICTURE_PX, "texture": ()})
    cutting = settings.model_copy(update={"cutouts": pictures})
    wanted: dict[str, Any] = {}
    if labels is not None:
        wanted = {"paths" if labels.by == "path" else "cutout_ids": labels.classes.keys()}
    barren: list[str] = []
    with Progress(count, "cutting a sample", "windows", at_most=True) as progress:
        found = sample_cutouts(cutting, files, count, **wanted, progress=progress.to, barren=barren.append)
    unused = _unknown(settings, [file.path for file in files], labels, found, count)
    if barren and "cutout_ids" not in wanted:
        unused.append(f"{counted(len(barren), 'image')} gave no window: {_first(barren)}")
    if labels is not None and not found:
        some = next(iter(labels.classes))
        like = f", as {files[0].path}" if labels.by == "path" else ""
        raise InputError(
            f"none of the {counted(len(labels.classes), 'label')} of {labels.name} matches a window of the "
            f"archive: the first is of the {labels.by} {some}. "
            + (
                f"Paths are those below the archive root{like}"
                if labels.by == "path"
                else "IDs are those of the images, their paths and windows, as these settings cut them"
            )
            + "".join(f". {note}" for note in unused)
        )
    if len(found) < FEWEST_WINDOWS:
        raise InputError(
            f"only {counted(len(found), 'window')} {'with labels ' if labels else ''}could be cut, and "
            f"networks are compared on {FEWEST_WINDOWS} or more"
            + "".join(f". {note}" for note in (_REMEDY[labels is not None], *unused))
        )
    return found, unused


def _unknown(
    settings: Settings,
    paths: Sequence[str],
    labels: LabelFile | None,
    found: Sequence[SampledCutout],
    count: int,
) -> list[str]:
    """Notes of labels that name nothing of the archive, as far as that is known."""
    if labels is None or (labels.by == "path" and settings.images.color is not None):
        return []  # a color image is known once it is put together
    if labels.by == "path":
        unknown, what = sorted(map(str, labels.classes.keys() - set(paths))), "image of the archive"
    elif len(found) < min(count, len(labels.classes)):  # so all images were cut
        cut = {cutout.cutout_id for cutout in found}
        unknown, what = [str(each) for each in labels.classes if each not in cut], "window of the archive"
    else:
        unknown, what = [], ""
    if not unknown:
        return []
    name = "names" if len(unknown) == 1 else "name"
    return [f"{counted(len(unknown), 'label')} of {labels.name} {name} no {what}: {_first(unknown)}"]


def _first(names: Sequence[str]) -> str:
    """The first of some names, and how many more there are."""
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _classes(cutouts: Sequence[SampledCutout], labels: LabelFile) -> list[str]:
    return [labels.classes[cutout.path if labels.by == "path" else cutout.cutout_id] for cutout in cutouts]


def _objects(cutouts: Sequence[SampledCutout]) -> list[str] | None:
    """The image of each window: others of it are no neighbors; None where all are of one image."""
    paths = [cutout.path for cutout in cutouts]
    return paths if len(set(paths)) > 1 else None


def _scored(classes: list[str], objects: list[str] | None, labels: LabelFile | None) -> NDArray[np.bool_]:
    """Windows of classes that have more than one object; of others no neighbor could be right."""
    different = dict.fromkeys(zip(classes, objects or range(len(classes)), strict=True))
    counts = Counter(label for label, _ in different)
    enough = {label for label, count in counts.items() if count > 1}
    if len(enough) < 2:
        name = "" if labels is None else f" of {labels.name}"
        raise InputError(
            f"the labels{name} leave {counted(len(enough), 'class')} with two images or more in a sample of "
            f"{len(classes)}, and two such classes are needed: label more, or raise --sample"
        )
    return np.array([label in enough for label in classes])


def _notes(
    settings: Settings,
    asked: int,
    cutouts: Sequence[SampledCutout],
    classes: list[str] | None,
    scored: NDArray[np.bool_] | None,
) -> list[str]:
    notes = []
    if classes is not None and len(classes) < FEW_LABELED:
        notes.append(
            f"only {len(classes)} windows are labeled: below {FEW_LABELED} the precision says little"
        )
    elif len(cutouts) < asked:
        notes.append(f"{len(cutouts)} of the {asked} windows asked for could be cut")
    if classes is not None and scored is not None and not scored.all():
        left = sorted({label for label, kept in zip(classes, scored, strict=True) if not kept})
        notes.append(f"not scored, for the sample has one image of each: {', '.join(left)}")
    if classes is not None and (others := _fewest_others(cutouts)) < NEIGHBORS:
        notes.append(
            f"some images leave {others} windows of others: precision is that of as many neighbors, not of "
            f"{NEIGHBORS}"
        )
    transform = settings.fingerprints.transform
    if few := few_windows(AUTO_TRANSFORM if transform == "auto" else transform, len(cutouts)):
        notes.append(f"{few}: raise --sample" + (", or label more images" if classes else ""))
    if settings.fingerprints.mode == "dense":
        notes.append("mode dense is judged by its windows one by one")
    if settings.fingerprints.precision in ("auto", "int8"):
        notes.append(f"precision {settings.fingerprints.precision} is settled by a run: this is f32")
    return notes


def _fewest_others(cutouts: Sequence[SampledCutout]) -> int:
    """Windows of other images that any window has, where there are other images."""
    counts = Counter(cutout.path for cutout in cutouts)
    return len(cutouts) - max(counts.values()) if len(counts) > 1 else len(cutouts) - 1


def _queries(count: int, classes: list[str] | None) -> list[int]:
    """Rows of the figure, in turn of each class; without classes evenly spread."""
    wanted = min(QUERIES, count)
    if classes is None:
        return [at * count // wanted for at in range(wanted)]
    by_class = {
        label: [row for row in range(count) if classes[row] == label] for label in sorted(set(classes))
    }
    turns = [rows[turn] for turn in range(wanted) for rows in by_class.values() if turn < len(rows)]
    return turns[:wanted]


def _with_network(settings: FingerprintsSettings, network: dict[str, Any]) -> FingerprintsSettings:
    """Settings with other networks, for windows that are seen one by one in one thread."""
    kept = settings.model_dump(exclude=set(_OF_NETWORK))
    exact = {} if settings.precision == "bf16" else {"precision": "f32"}
    values = {**kept, "threads": 1, "labels": "units", **exact, **network}
    if values["transform"] == "auto":
        values["transform"] = AUTO_TRANSFORM
        values["power"] = AUTO_POWER if values["power"] is None else values["power"]
        if values["copies"] is None:
            values["copies"] = AUTO_COPIES if settings.mode == "window" else 0
    values.pop("int8_model", None)
    return parse_settings({"images": {"paths": "."}, "fingerprints": values}).fingerprints


def _dense(settings: Settings) -> dict[str, Any]:
    """The network of dense mode for windows one by one: its last features, at the scale of the image."""
    sizes = getattr(settings.cutouts.generator, "size", ())
    return {"layer": "avg_pool", "augmentations": 1, "input_px": min(1024, max(sizes, default=224))}


def _is(choice: Choice, settings: FingerprintsSettings, identity: tuple[Any, ...]) -> bool:
    try:
        return _identity(_with_network(settings, choice.network)) == identity
    except ConfigError:  # which is told where it is to be taken
        return False


def _identity(settings: FingerprintsSettings) -> tuple[Any, ...]:
    return tuple(map(_key, settings.parts)), settings.factors


def _key(part: FingerprintsSettings) -> tuple[Any, ...]:
    return part.weights, part.backbone, part.weights_sha256, part.input_px, part.layer, part.augmentations


def _seen(
    part: FingerprintsSettings, windows: Sequence[NDArray[Any]], seen: dict[tuple[Any, ...], _Seen]
) -> _Seen:
    """What a network makes of windows; it runs once."""
    key = _key(part)
    if key not in seen:
        seen[key] = _run(part, windows)
    return seen[key]


def _run(part: FingerprintsSettings, windows: Sequence[NDArray[Any]]) -> _Seen:
    name = part.weights.rpartition("/")[2]
    with step(f"preparing the network {name}"):
        network = resolve_network(
            part.untransformed().model_copy(update={"labels": "units"}), resolve_settings(part)
        )
        (runtime,) = FingerprintSpec.from_network(network).load(str)
    batches = _batches(windows, part.batch_size)
    vectors: Matrix | None = None
    spent, timed = 0.0, 0

    def run(rows: list[int]) -> Matrix:
        return runtime(np.stack([resize_window(windows[row], part.input_px) for row in rows]))[0]

    run(batches[0])  # what is built with the first batch is not timed
    with Progress(len(windows), f"fingerprinting by {name}", "windows") as progress:
        for rows in batches:
            started = time.process_time()
            found = run(rows)
            spent, timed = spent + time.process_time() - started, timed + len(rows)
            if vectors is None:
                vectors = np.empty((len(windows), found.shape[1]), np.float32)
            vectors[rows] = found
            progress.to(timed)
    assert vectors is not None
    if not np.isfinite(vectors).all():
        raise WeightsError(
            f"the weights {name} give vectors that are not finite: they do not fit these windows"
        )
    return _Seen(vectors, max(spent, 1e-9) / timed)


def _batches(windows: Sequence[NDArray[Any]], size: int) -> list[list[int]]:
    """Rows of windows that the network sees at once: gray or color."""
    kinds: dict[int, list[int]] = {}
    for row, window in enumerate(windows):
        kinds.setdefault(window.ndim, []).append(row)
    return [rows[at : at + size] for rows in kinds.values() for at in range(0, len(rows), size)]


def _learned(count: int, copied: int) -> NDArray[np.int64]:
    """Rows of the windows of whose copies the transform learns: others than are to be found, if there are."""
    first = COPIED if count >= COPIED + FEWEST else 0
    return np.arange(first, min(count, first + copied))


def _transformed(
    network: FingerprintsSettings, vectors: Matrix, fitted_to: int, copies: Copied, settings: Settings
) -> Matrix:
    """Vectors as a new catalog keeps them, the transform fitted to the first of them."""
    if network.pca is not None and network.pca > fitted_to:
        raise InputError(
            f"fingerprints.pca is {network.pca}, and the sample has {fitted_to} windows to fit it to: "
            "raise --sample"
        )
    parts = shares(settings_lengths(network), network.factors)
    fitted = VectorTransform.fit(vectors[:fitted_to], network, settings.seed, parts, copies)
    return fitted.apply(vectors)


def _precision(
    near: NDArray[np.int64],
    classes: list[str],
    objects: list[str] | None,
    scored: NDArray[np.bool_],
    settings: Settings,
) -> Score:
    names = None if objects is None else np.array(objects)[scored]
    return mean_score(
        shares_of_same(near, classes)[scored], np.array(classes)[scored], names, seed=settings.seed
    )


def _found(originals: Matrix, copied: Matrix, objects: list[str] | None, seed: int) -> dict[str, Score]:
    n = len(originals)
    by_kind = copied.reshape(len(COPIES), n, -1)
    groups = None if objects is None else objects[:n]
    found = {"all": retrieval(originals, by_kind.transpose(1, 0, 2), groups, seed=seed)}
    return found | {
        kind: retrieval(originals, some[:, None], groups, seed=seed)
        for kind, some in zip(COPIES, by_kind, strict=True)
    }


def _lines(choice: Choice, named: dict[str, Any]) -> str:
    """YAML that makes a configuration take a choice, whatever it names now."""
    undone = {
        name: _LEFT_OUT.get(name)
        for name in _OF_NETWORK
        if name in named and name not in choice.network and named[name] != _LEFT_OUT.get(name)
    }
    return write_yaml({"fingerprints": {**choice.network, **undone}})
