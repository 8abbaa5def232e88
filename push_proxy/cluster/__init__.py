"""Several nodes beside each other: who lives, what the others changed, orders between them."""
