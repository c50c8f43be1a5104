"""The narrow middle of a squeeze-and-excitation: `channels // reduction`, as in the papers."""


def hidden_channels(channels: int, reduction: int) -> int:
    """Width of the hidden layer; raises ValueError where nothing would be left of it."""
    if not 1 <= reduction <= channels:
        raise ValueError(
            f"reduction={reduction} does not fit {channels} channels: choose 1 to {channels}"
        )
    return channels // reduction
