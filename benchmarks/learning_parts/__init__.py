"""Parts of the learning benchmark."""
