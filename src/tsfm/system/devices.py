"""Checks that the device in the settings exists on this machine and that torch supports it."""

from __future__ import annotations

from tsfm.errors import ConfigError


def check(device: str, source: str) -> None:
    """Refuse a device that does not exist.

    Args:
        device: "cpu", "cuda" or "cuda:N".
        source: the place of the setting, for the message.

    Raises:
        ConfigError: no CUDA in this torch, or no such device.
    """
    if device == "cpu":
        return
    # Imported here: a family without torch starts faster without it.
    import torch

    count = torch.cuda.device_count()
    number = int(device.partition(":")[2] or 0)
    if number < count:
        return
    if torch.version.cuda is None:
        found = f"torch {torch.__version__} is built without CUDA: install taos-tsfm-cuda"
    elif not count:
        found = "torch finds no CUDA device"
    else:
        found = f"the devices are cuda:0 to cuda:{count - 1}"
    raise ConfigError(f"{source}: expected a device of this machine, got {device!r}, but {found}; cpu always works")
