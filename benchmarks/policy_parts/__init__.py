"""Parts of the policy node's benchmark."""
