"""The main job end to end on one machine, beside a real PBX (`push-proxy demo`)."""
