"""Strict doubles of the push platforms: they refuse what the real ones refuse."""
