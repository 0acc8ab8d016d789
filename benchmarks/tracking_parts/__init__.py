"""Parts of benchmarks/saliency_tracking.py."""
