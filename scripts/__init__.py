"""The commands, and below them the code that commands share."""
