"""``python -m elodin_spark`` is the command line, and so is ``elodin-spark``."""

from elodin_spark.exits import stop_on_interrupt


def main() -> None:
    """Run the command line; ends the process with an exit code."""
    stop_on_interrupt()  # before anything that takes its time to import
    from elodin_spark.cli.main import main

    main()


if __name__ == "__main__":
    main()
