"""The laboratory: real PBX, callers, phones and a webhook receiver for tests, all on loopback."""
