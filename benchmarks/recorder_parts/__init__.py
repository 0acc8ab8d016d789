"""Parts of the recorder's benchmark and soak test."""
