"""``drain``: how patient a stop is."""

from typing import Annotated

from pydantic import Field

from .runtime.draining import DrainRules
from .settings_section import Seconds, Section


class DrainSection(Section):
    """``drain``: what a stopping service may still finish, seconds."""

    hand_over_s: Annotated[Seconds, Field(ge=0, le=120)] = 10.0
    deadline_s: Annotated[Seconds, Field(ge=0, le=3600)] = 60.0

    def rules(self) -> DrainRules:
        """As the runtime takes them."""
        return DrainRules(hand_over_s=self.hand_over_s, deadline_s=self.deadline_s)
