"""The command line: compose the configuration, check it, answer wrong input in one line."""
