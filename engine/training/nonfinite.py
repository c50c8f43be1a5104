"""Find the first number of a run that is NaN or infinite.

A training step does not wait for the device, so a step does not check its numbers. When NaN is
noticed, all weights may be NaN. The steps are repeated, and each tensor is checked in the order of
the computation.
"""

from functools import partial

from torch import Tensor, nn

from engine.training.run import Run


class Watch:
    """A context that notes the tensors with NaN or infinity while a network runs.

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
        """The first tensor of the last step that is not finite, in words; None if all are finite.

        With a loss scale, a gradient may overflow: the step is skipped, and the run goes on.
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
