"""The `autofocus` command: it gathers the verbs of every package, and runs the demonstration."""
