"""`autofocus demo`: record, annotate, train, evaluate and deploy on the simulated arm, end to end."""
