"""The only publisher of robot commands: limits, watchdogs, hold."""
