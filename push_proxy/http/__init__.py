"""The HTTP API for operators and apps."""
