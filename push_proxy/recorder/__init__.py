"""The SIP of a call: gathered, masked, kept for a while, drawn, downloaded, exported."""
