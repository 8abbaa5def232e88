"""Push providers: one adapter each, all behind ``ports.PushProvider``."""
