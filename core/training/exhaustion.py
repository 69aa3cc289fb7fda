"""What to tell a person whose machine has too little memory."""

from __future__ import annotations

import torch


def ran_out(error: Exception) -> str | None:
    """Return what ran out and what to do; None of an error of another kind."""
    text = str(error).splitlines()[0] if str(error) else ""
    if "DataLoader worker" in text:
        return (
            "a process that reads images was killed, most often for want of memory; set "
            "data.num_workers or data.cache lower, then --resume"
        )
    lacking = isinstance(error, MemoryError | torch.OutOfMemoryError)
    if lacking or "can't allocate memory" in text:
        return (
            f"out of memory ({text}); set train.batch_size lower (and train.accumulate "
            "higher), or data.crop_size, or train.gradient_checkpointing, then --resume"
        )
    return None
