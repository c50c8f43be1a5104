"""Where a run stopped being one of finite numbers.

The step itself waits for nothing and therefore does not look. What is found too late, when all
weights are NaN already, is found again: the steps are repeated, which gives the same numbers, and
each is looked at in the order of its computation.
"""

from collections.abc import Iterable
from functools import partial

from torch import Tensor, nn

from engine.training.run import Run


def first_fault(run: Run, updates: Iterable[None]) -> str | None:
    """What is not finite first, as words; `run` stays at the step where it was found.

    `updates` makes one update of `run` each time it is asked. None if all of them are sound.
    """
    with Watch(run.model) as watch:
        for _ in updates:
            loss = [] if run.losses[-1].isfinite() else ["the loss"]
            after = filter(None, [run.nonfinite()])
            if found := [*watch.forward, *loss, *watch.backward, *after]:
                return found[0]
    return None


class Watch:
    """A context in which a network tells what is not finite while it runs.

    `forward` is filled with the input and the outputs, in the order in which the modules finish;
    `backward` with the gradients with respect to these outputs, in the order in which they arrive.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.forward: list[str] = []
        self.backward: list[str] = []

    def __enter__(self) -> "Watch":
        self._hooks = [self.model.register_forward_pre_hook(self._entering)]
        for name, module in self.model.named_modules():
            where = f"{name} ({type(module).__name__})" if name else "the network"
            self._hooks.append(module.register_forward_hook(partial(self._leaving, where)))
        return self

    def __exit__(self, *error: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def _entering(self, module: nn.Module, args: tuple[Tensor, ...]) -> None:
        _note(self.forward, "the input of the network", args[0])

    def _leaving(self, where: str, module: nn.Module, args: object, output: object) -> None:
        for tensor in output if isinstance(output, tuple | list) else (output,):
            _note(self.forward, f"the output of {where}", tensor)
            if tensor.requires_grad:
                gradient = f"the gradient at the output of {where}"
                tensor.register_hook(partial(_note, self.backward, gradient))


def _note(found: list[str], what: str, tensor: Tensor) -> None:
    if not tensor.isfinite().all():
        found.append(what)
