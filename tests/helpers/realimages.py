"""Real images that come with the libraries: with them the tests see the sky wherever they run."""

from __future__ import annotations

import shutil
from pathlib import Path

import skimage
from astropy.utils.data import get_pkg_data_filename

COMPRESSED = "astropy.io.fits.hdu.compressed.tests"
#: Of astropy (M 13 from a digitized plate, plain and compressed; chips of WFPC2; a plate of the Digitized
#: Sky Survey) by the package that holds them.
FITS = {
    "m13.fits": COMPRESSED,
    "m13_gzip.fits": COMPRESSED,
    "m13_rice.fits": COMPRESSED,
    "test0.fits": "astropy.io.fits.tests",
    "dss.14.29.56-62.41.05.fits.gz": "astropy.wcs.tests",
}
#: Of scikit-image: the Hubble Extreme Deep Field, NASA and ESA.
PICTURE = "hubble_deep_field.jpg"


def copy_real_images(folder: Path) -> Path:
    """Copy them all into a new folder."""
    folder.mkdir(parents=True)
    for name, package in FITS.items():
        shutil.copyfile(get_pkg_data_filename(f"data/{name}", package=package), folder / name)
    shutil.copyfile(Path(skimage.__file__).parent / "data" / PICTURE, folder / PICTURE)
    return folder
