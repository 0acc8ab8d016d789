"""Training: aligned datasets, small policies, saliency methods, TorchScript export. Imports autofocus_core only."""
