"""One file a group of routes; :mod:`sonde.api.app` puts them in order."""
