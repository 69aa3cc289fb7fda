"""What every family shares; knows none (scripts -> families.py -> family -> core)."""
