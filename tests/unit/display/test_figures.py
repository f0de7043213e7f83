"""All figures together."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.figures import FOOTER, assert_readable, drawn_texts, jpeg, neighbor_panels, panel, sky_case
from helpers.paths import DATA

from elodin_spark.display.map import choose_thumbnails, map_figure
from elodin_spark.display.neighbors import neighbors_figure
from elodin_spark.display.sky import sky_figure
from elodin_spark.display.style import figure_bytes
from elodin_spark.display.thumbnails import decode_thumbnail


def test_the_same_input_gives_the_same_picture() -> None:
    xy = np.random.default_rng(9).random((60, 2))
    pictures = [jpeg((n, 255 - n, 90)) if n % 3 else None for n in range(60)]
    labels = [f"group {n % 9}" for n in range(60)]
    ra, dec = sky_case("two fields")
    for make in (
        lambda: map_figure(xy, pictures, method="tsne", labels=labels, subtitle=FOOTER),
        lambda: neighbors_figure(panel(0), neighbor_panels(4), metric="l2", subtitle=FOOTER),
        lambda: sky_figure(ra, dec, groups=labels * 3 + labels[:20], subtitle=FOOTER),
    ):
        assert figure_bytes(make()) == figure_bytes(make())


@pytest.mark.skipif(not (DATA / "efigi").is_dir(), reason="needs the galaxy JPEGs of ../shared/data/efigi")
def test_real_galaxies_are_drawn() -> None:
    files = sorted((DATA / "efigi").glob("*.jpg"))[:300]
    thumbnails = [file.read_bytes() for file in files]
    xy = np.random.default_rng(10).normal(size=(len(files), 2))
    figure = map_figure(xy, thumbnails, method="umap", subtitle=FOOTER)
    assert_readable(figure, drawn_texts(figure))
    assert 50 < len(choose_thumbnails(xy, np.ones(len(files), bool), cells=25)) <= 300
    panels = [panel(n, image=files[n].name, thumbnail=thumbnails[n], rank=n) for n in range(10)]
    figure = neighbors_figure(panels[0], panels[1:], metric="l2", subtitle=FOOTER)
    assert_readable(figure, drawn_texts(figure))
    shown = next(ax for ax in figure.axes if ax.get_label() == "query").images[0].get_array()
    assert np.array_equal(np.asarray(shown), decode_thumbnail(thumbnails[0]))
