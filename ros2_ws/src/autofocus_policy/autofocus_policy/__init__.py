"""Runs a TorchScript policy at control rate, and evaluates it on bags."""
