"""How long training takes, and what it is compared with."""
