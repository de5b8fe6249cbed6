"""``python -m sonde`` and the command ``sonde``."""

from sonde.cli.app import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
