"""Pages of archives at a position."""

from __future__ import annotations

from urllib.parse import quote

#: Title and address, of RA and Dec (ICRS, deg), their pair, and the side of the view (deg).
_PAGES = (
    ("Aladin Lite", "https://aladin.cds.unistra.fr/AladinLite/?target={pair}&fov={fov}"),
    ("ESASky", "https://sky.esa.int/esasky/?target={pair}&fov={fov}"),
    ("SIMBAD", "https://simbad.cds.unistra.fr/simbad/sim-coo?Coord={pair}&Radius=1&Radius.unit=arcmin"),
    ("Legacy Surveys", "https://www.legacysurvey.org/viewer?ra={ra}&dec={dec}&zoom=15"),
    ("MAST", "https://mast.stsci.edu/portal/Mashup/Clients/Mast/Portal.html?searchQuery={pair}"),
)
_FOV_DEG = 0.05  # where the size of the window is not known


def archive_links(ra: float | None, dec: float | None, side_deg: float | None = None) -> list[dict[str, str]]:
    """Pages that show a position; none where it is not known.

    Parameters
    ----------
    ra, dec : float or None
        ICRS, deg.
    side_deg : float, optional
        Of the window.

    Returns
    -------
    list of dict
        `title` and `url`.
    """
    if ra is None or dec is None:
        return []
    fov = _FOV_DEG if side_deg is None else min(max(3 * side_deg, 0.002), 60.0)
    pair = quote(f"{ra:.7f} {dec:+.7f}")
    return [
        {"title": title, "url": url.format(ra=f"{ra:.7f}", dec=f"{dec:.7f}", pair=pair, fov=f"{fov:.5g}")}
        for title, url in _PAGES
    ]
