"""``push-proxy doctor``: a live set-up examined hop by hop, beside a running service or without.

Nothing is changed and no phone notices. Each hop is a module; `examination` runs them.
"""
