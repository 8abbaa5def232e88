"""The shell around the core: clock, dispatcher, interpreter, registrar, registrations."""
