"""An installation of one machine: the log and the store of its data directory, and the disk under them."""
