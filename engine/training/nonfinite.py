"""Where the numbers of a run stopped being finite.

A step does not wait for the device and therefore does not look. By the time NaN is noticed all
weights may be NaN, so the steps are repeated and each is looked at, in the order of computation.
"""

from functools import partial

from torch import Tensor, nn

from engine.training.run import Run


class Watch:
    """A context that notes what is not finite while a network runs.

    `forward` lists the input and the outputs, in the order in which the modules finish; `backward`
    lists the gradients with respect to these outputs, in the order in which they arrive.
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

    def first_fault(self, run: Run) -> str | None:
        """What was not finite first in the last step of `run`, in words; None if all is finite.

        With a loss scale a gradient may overflow: the step is skipped and nothing is wrong.
        """
        loss = [] if run.losses[-1].isfinite() else ["the loss"]
        backward = [] if run.scale.enabled else self.backward
        after = filter(None, [run.nonfinite()])
        return next(iter([*self.forward, *loss, *backward, *after]), None)

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
