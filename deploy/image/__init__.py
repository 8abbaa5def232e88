"""What the container image is made by."""
