"""The HTTP API (docs/contracts.md): accounts, devices, calls, health and metrics.

``app.create_app`` builds it from ``deps.HttpDeps``. One small router per noun; a request
passes ``gate`` (who is calling, how much, how large) before it reaches one.
"""
