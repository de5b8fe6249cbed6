"""Sonde: telemetry that survives the trip, from sensor to chart, and commands back."""

__version__ = "0.1.0"
