"""The end of a residual block as one fused region: the same numbers in fewer passes."""
