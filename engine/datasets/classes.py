"""The names of classes: which are chosen, and how the labels of one list become another's."""

import difflib
from collections.abc import Sequence

import torch
from torch import Tensor

SHOWN = 5  # names in a message


def choose(there: Sequence[str], wanted: int | Sequence[str] | None) -> tuple[str, ...]:
    """The classes `there`; or the first so many; or those named, in the order they are there."""
    if wanted is None:
        return tuple(there)
    if isinstance(wanted, int):
        if not 1 <= wanted <= len(there):
            raise ValueError(f"classes={wanted}, but there are {len(there)} (all: classes=null)")
        return tuple(there[:wanted])
    for name in wanted:
        if name not in there:
            near = difflib.get_close_matches(name, there, 1)
            hint = f"; did you mean {near[0]}?" if near else f", of {len(there)}"
            raise ValueError(f"classes: there is no {name}{hint}")
    return tuple(name for name in there if name in wanted)


def label_map(there: Sequence[str], known: Sequence[str]) -> Tensor:
    """(len(there),) int64: the place in `known` of each class `there`.

    ValueError if a class is not among the `known` ones, those that a network was trained on.
    """
    if unknown := [name for name in there if name not in known]:
        raise ValueError(
            f"the run was not trained on {short_list(unknown)}, and these images have such; it "
            f"knows {short_list(known)}"
        )
    place = {name: label for label, name in enumerate(known)}
    return torch.tensor([place[name] for name in there])


def short_list(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
