"""Several processes that train one run. Importing this package imports no torch."""
