"""The Playbook objects to what is not in the script."""

import pytest

from push_proxy.core.actions import StoreInvite
from tests.unit.core.playbook import Playbook, Push, Ring, Wait, asleep


def test_another_order_than_expected() -> None:
    """It shows the conversation so far, and both orders."""
    with pytest.raises(AssertionError, match=r">> INVITE\n<< Ring.*\nexpected Ring") as caught:
        _ = Playbook(asleep("phone")) << Ring("phone")
    assert "got SendPush" in str(caught.value)


def test_an_order_that_nobody_expected() -> None:
    """Neither before the next event nor at the end may an order be left."""
    with pytest.raises(AssertionError, match="unexpected"):
        _ = Playbook(asleep("phone")) << Push("phone") >> Wait(1)
    with pytest.raises(AssertionError, match="unexpected"), Playbook(asleep("phone")) as call:
        _ = call << Push("phone")


def test_an_order_that_does_not_come() -> None:
    """Expecting more than there is fails too."""
    with pytest.raises(AssertionError, match="got None"):
        _ = Playbook(asleep("phone")) << Push("phone") << StoreInvite() << Push("phone")
