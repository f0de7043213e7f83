"""``elodin-spark explore``: a catalog in the browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from elodin_spark.progress import step


def explore(
    catalog: Annotated[Path, typer.Argument(metavar="CATALOG", help="Folder of a catalog.")],
    host: Annotated[
        str,
        typer.Option(metavar="ADDRESS", help="What to listen on; other than loopback a token is needed."),
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; 0 for any that is free.")
    ] = 8765,
    open_browser: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
) -> None:
    """Look at a catalog in the browser, until Ctrl-C.

    Prints the address. The catalog is only read, but for selections that are kept, in CATALOG/selections.
    Needs the extra 'explore': pip install 'elodin_spark[explore]'.

    Example: elodin-spark explore runs/coadds --open

    Example: elodin-spark explore runs/coadds --port 0

    Example, of a catalog elsewhere: ssh -L 8765:localhost:8765 HOST elodin-spark explore runs/coadds
    """
    with step("starting"):
        from elodin_spark.web.server import serve

    serve(catalog, host=host, port=port, open_browser=open_browser)
