"""A training from the terminal: its progress, its figure, and the weights packed with their card."""

from __future__ import annotations

import hashlib
import json
import platform
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from elodin_spark import __version__
from elodin_spark.config.pretrain import PretrainSettings
from elodin_spark.display.training import draw_training
from elodin_spark.fingerprints.weights.shipped import pack_weights
from elodin_spark.learning.cutoutset import CutoutSet
from elodin_spark.learning.history import read_history
from elodin_spark.learning.labeled import LabeledSet
from elodin_spark.learning.pretrain import REPORTED_STEPS, StepReport, pretrain
from elodin_spark.learning.pretrainmodel import BACKBONE
from elodin_spark.progress import Progress

_LOSSES = ("contrast", "profile", "kind", "shape", "class", "attributes", "alike")
WEIGHTS, FIGURE = "weights.safetensors", "training.png"


def train_and_pack(
    cutouts: CutoutSet | None,
    out: Path,
    settings: PretrainSettings,
    *,
    labeled: LabeledSet | None = None,
    watched: Sequence[LabeledSet] = (),
    threads: int | None = None,
) -> Path:
    """Train, telling of it, and write ``weights.safetensors``, ``weights.json`` and ``training.png``.

    Parameters are those of :func:`~elodin_spark.learning.pretrain.pretrain`.

    Returns
    -------
    Path
        Of the weights.
    """
    out.mkdir(parents=True, exist_ok=True)
    start = _start(settings.start)
    with ExitStack() as shown:
        bars: dict[str, Progress] = {}

        def bar(what: str, total: int, unit: str, begun: int = 0) -> Progress:
            if what not in bars:
                bars[what] = shown.enter_context(Progress(total, what, unit, begun=begun))
            return bars[what]

        def drawn(count: int) -> None:
            bar("drawing", settings.stamp_pool, "simulated objects").to(count)

        def told(report: StepReport) -> None:
            training = bar("training", settings.steps, "steps", max(0, report.step - REPORTED_STEPS))
            training.to(report.step)
            if report.precision:
                training.say(_line(report))
                draw_training(read_history(out), out / FIGURE)

        model = pretrain(
            cutouts,
            out,
            settings,
            labeled=labeled,
            watched=watched,
            threads=threads,
            report=told,
            drawn=drawn,
        )
    history = read_history(out)
    draw_training(history, out / FIGURE)
    path = out / WEIGHTS
    card = {**_card(cutouts, settings, history, model.backend), "start": start}
    if labeled is not None and settings.labeled:
        card["labeled"] = {
            "name": labeled.name,
            "cutouts": len(labeled.labels),
            "held_out": settings.held_out,
        }
    pack_weights(model.weights(), path, card, input_px=settings.stretches[-1].px, backbone=BACKBONE)
    return path


def _line(report: StepReport) -> str:
    losses = ", ".join(f"{name} {value:.3f}" for name, value in report.losses.items())
    checks = ", ".join(f"{name} {value:.3f}" for name, value in report.precision.items())
    return (
        f"step {report.step}: {losses}; ten nearest of the same label: {checks}; {report.views_s:.0f} views/s"
    )


def _card(
    cutouts: CutoutSet | None, settings: PretrainSettings, history: list[dict[str, Any]], backend: str
) -> dict[str, Any]:
    last = history[-1] if history else {}
    views = 2 * (settings.cutouts + settings.stamps + settings.labeled) * REPORTED_STEPS
    return {
        "made_with": f"elodin_spark {__version__}",
        "recipe": json.loads(settings.model_dump_json()),
        "cutouts": [] if cutouts is None else [_file(Path(name)) for name in cutouts.files],
        "keras_backend": backend,
        "machine": f"{platform.machine()}, {_processor()}",
        "hours": round(sum(views / line["views_s"] for line in history) / 3600, 2),
        "finished": time.strftime("%Y-%m-%d", time.gmtime()),
        "losses": {name: last[name] for name in _LOSSES if name in last},
        "precision_at_10": last.get("precision", {}),
    }


def _start(source: str | None) -> dict[str, Any] | None:
    if source is None or not Path(source).exists():
        return None if source is None else {"name": source}
    return _file(Path(source))


def _file(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"name": path.name, "sha256": digest, "size_bytes": path.stat().st_size}


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} x {names[0]}" if names else platform.processor()
