"""Style transfer without a training for each style: optimised (`neural`) and photographic."""
