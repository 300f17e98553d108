"""Run the command line as ``python -m histomend``."""

from histomend.cli import main

if __name__ == "__main__":
    main()
