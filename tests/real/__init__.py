"""What the real control plane does."""
