"""The operator console: static files that read the API with the operator's own key."""
