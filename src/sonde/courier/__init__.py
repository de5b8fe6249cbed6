"""Ways to people outside: adapters of port ``Courier``."""
