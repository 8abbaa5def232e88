"""A SIP push-proxy: holds calls for sleeping softphones, wakes them, relays the call.

Data flows one way round a loop::

    SIP facts (signaling) -> events -> core.wake.step(state, event, now) -> actions
        ^                                                                      |
        +---- what came of an action returns as an event <--- runtime.interpreter

``core`` is pure: it sees no socket, loop, clock, logger or Redis, and nothing outside it
decides anything. ``ports.py`` lists what the core's actions are carried out upon.
"""
