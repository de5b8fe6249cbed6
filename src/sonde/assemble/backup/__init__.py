"""An installation, as one moment had it: taken, kept, and made again."""
