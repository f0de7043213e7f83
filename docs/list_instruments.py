"""Cut every image of a folder of FITS files from many instruments and list what came of each.

python docs/list_instruments.py ../shared/data/fits docs/instruments.md
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
from astropy.io import fits

from elodin_spark import schema
from elodin_spark.config.settings import SlidingWindow
from elodin_spark.cutouts.tile import TileSpec
from elodin_spark.images import dqbits, lookups, siblings, sky
from elodin_spark.images.listing import ImageFile, list_files
from elodin_spark.images.stage import DescribeSpec
from elodin_spark.stage import fuse, run_plain

#: Smaller than the smallest of the images, so that each is cut.
WINDOW_PX = 24

HEAD = """\
# Instruments

What comes of {files} FITS files from about twenty instruments, in every compression, with
`images.hdu: all` and windows of {window} px edge to edge. {cut} files are cut; {refused} hold nothing
that can be cut, and the last column is the message of the `failures` table. Made by
`python docs/list_instruments.py`; the tests hold pixels and positions of each against astropy's own.
Where an image has no position on the sky, the column WCS says why (`no_sky_reason` of the table
`images`), and what was assumed where it has one (`sky_note`).

| file | telescope | stored as | HDUs cut | px | WCS | windows, or why not |
|---|---|---|---|---|---|---|
"""


MASKS = """
## Masks

Names of the bits of masks whose headers do not name them, by the published tables (bit 0 is the lowest);
**bold** are those that spoil a pixel unless `cutouts.quality.bad_bits` says otherwise. Rubin (`MP_` and
`MSKN`/`MSKM` cards), Pan-STARRS (`MSKNAM`), the Legacy Surveys (`MBIT_`) and ZTF (`BIT` comments) name
theirs in the header, of which {bad} are bad.

| mask | bits | source |
|---|---|---|
"""

PARTS = """
## Files that belong to an image

Masks, weights and uncertainties in files of their own are found by name beside the image, on local disks,
and are not cut. In `x_WORD.fits` the word may stand for `sci`, `img`, `image`, `int`, `data`, `drz` or `drc`
of the image's name, or follow it after a dot, dash or underscore.

| what it holds | words |
|---|---|
"""

#: Headings of the tables of bits.
TABLES = {
    **{f"HST {name}": table for name, table in dqbits.HST.items()},
    "JWST": dqbits.JWST,
    "Roman": dqbits.ROMAN,
    "DES (DES_EXT)": dqbits.DES,
    "DECam, Mosaic-3, 90Prime (PRODTYPE dqmask), codes": dqbits.COMMUNITY_CODES,
    "the same before version 3.5, bits": dqbits.COMMUNITY_BITS,
}

WORDS = {
    "mask": "mask",
    "inverse": "weight, or inverse variance",
    "sigma": "standard deviation",
    "variance": "variance",
    "other": "neither sky nor any of these",
}


def parts() -> str:
    """The sections on masks and on files of their own."""
    lines = [MASKS.format(bad=", ".join(f"`{name}`" for name in dqbits.BAD_NAMES)).rstrip("\n")]
    for heading, known in TABLES.items():
        names = sorted(known.bits, key=lambda name: known.bits[name])
        first = int(known.codes)
        bits = (f"{known.bits[n] + first} {f'**{n}**' if n in known.bad else n}" for n in names)
        lines.append(f"| {heading} | {', '.join(bits)} | {known.source} |")
    lines.append(PARTS.rstrip("\n"))
    lines += [f"| {what} | {', '.join(siblings.WORDS[part])} |" for part, what in WORDS.items()]  # type: ignore[index]
    return "\n".join(lines) + "\n"


def cut(file: ImageFile) -> list[dict[str, Any]]:
    """Rows of :data:`elodin_spark.schema.TILED` of one file."""
    batch = pa.RecordBatch.from_pylist([file._asdict()], schema=schema.FILES)
    tile = TileSpec(SlidingWindow(size=WINDOW_PX, step=WINDOW_PX), thumbnail_px=16)
    return run_plain(fuse(DescribeSpec(hdu="all"), tile), [batch]).to_pylist()


def table(folder: Path) -> str:
    """The page, as Markdown."""
    lines, refused = [], 0
    files = list_files([str(folder)])
    for file in files:
        rows = cut(file)
        images = [row["image"] for row in rows if row["image"] and row["image"]["status"] == "ok"]
        failures = [row["failure"] for row in rows if row["failure"]]
        windows = sum(row["cutout_id"] is not None for row in rows)
        refused += not images
        outcome = f"{windows}" if images else "; ".join(f"{f['kind']}: {f['message']}" for f in failures)
        sizes = dict.fromkeys(f"{image['width']} x {image['height']}" for image in images)
        cells = [
            f"`{file.path}`",
            _telescope(file.uri),
            _storage(file.uri, images),
            ", ".join(str(image["hdu"]) for image in images),
            ", ".join(sizes),
            ", ".join(dict.fromkeys(_projection(image) for image in images)),
            outcome,
        ]
        lines.append("| " + " | ".join(cells) + " |")
    head = HEAD.format(files=len(files), window=WINDOW_PX, cut=len(files) - refused, refused=refused)
    return head + "\n".join(lines) + "\n" + parts()


def _headers(path: str) -> Iterator[fits.Header]:
    with sky.quiet(), fits.open(path, ignore_missing_end=True) as hdulist:
        yield from (hdu.header for hdu in hdulist)


def _telescope(path: str) -> str:
    for header in _headers(path):
        found = [str(header.get(name) or "").strip() for name in ("TELESCOP", "INSTRUME")]
        if any(found):
            return " ".join(dict.fromkeys(word for word in found if word))
    return ""


def _storage(path: str, images: list[dict[str, Any]]) -> str:
    wanted = {image["hdu"] for image in images}
    kinds = []
    with sky.quiet(), fits.open(path, ignore_missing_end=True, disable_image_compression=True) as hdulist:
        for index in sorted(wanted):
            header = hdulist[index].header
            bits = header.get("ZBITPIX", header["BITPIX"])
            number = f"{abs(bits):d} bit {'float' if bits < 0 else 'integer'}"
            kinds.append(" ".join(filter(None, [header.get("ZCMPTYPE", ""), number])))
    ending = path.rsplit(".", 1)[-1]
    whole = [ending] if ending in ("gz", "bz2") else []
    return ", ".join([*whole, *dict.fromkeys(kinds)])


def _projection(image: dict[str, Any]) -> str:
    wcs = image["wcs"]
    if wcs is None:
        return f"none: {image['no_sky_reason']}"
    tables = lookups.uses_lookup(fits.Header.fromstring(wcs, sep="\n"))
    note = f" ({image['sky_note']})" if image["sky_note"] else ""
    return str(sky.wcs_of(wcs).wcs.ctype[0]) + (" + tables" if tables else "") + note


def main() -> None:
    """Write the page; see the module."""
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    Path(sys.argv[2]).write_text(table(Path(sys.argv[1])), encoding="utf-8")


if __name__ == "__main__":
    main()
