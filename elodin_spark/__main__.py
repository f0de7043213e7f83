"""``python -m elodin_spark`` is the command line."""

from elodin_spark.cli import main

if __name__ == "__main__":
    main()
