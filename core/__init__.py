"""What every family shares. This package knows no family: scripts -> families.py -> family -> core."""
