"""What every family shares; knows none (scripts -> families.py -> family -> core)."""

__version__ = "0.2.0"
