"""Event webhooks: operators' systems are told what happens, in nobody's way."""
