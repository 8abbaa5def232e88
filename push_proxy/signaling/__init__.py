"""SIP: facts out, orders in. ``native`` is the real stack, ``fake`` one in memory."""
