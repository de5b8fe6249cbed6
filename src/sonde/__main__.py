"""``python -m sonde`` and the command ``sonde``."""


def main() -> None: ...
