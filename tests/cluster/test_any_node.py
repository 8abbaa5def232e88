"""A client may ask any node: for calls that another one has in its hands, for what another one has
just written, and with what another one gave it.
"""

from typing import Any

import pytest

from tests.lab.cluster import Cluster, Node
from tests.lab.kamailio import Kamailio
from tests.lab.pbx import Pbx
from tests.lab.push_sink import Push, PushSink
from tests.lab.sip_call import OutgoingCall
from tests.lab.sip_digest import answer_challenge

ACCOUNT, AOR = "alice", "sip:101@pbx.test"
PASSWORD = "pw-101"


@pytest.fixture
async def account(cluster: Cluster) -> str:
    """An account whose PBX calls as a trunk, with one device, known at all nodes."""
    await provision(cluster)
    return ACCOUNT


async def provision(cluster: Cluster) -> None:
    auth = {"user": "101", "realm": "pbx.test", "password": PASSWORD}
    await cluster.put_account(ACCOUNT, AOR, topology="trunk", pbx="trunk", app_auth=auth)
    await cluster[0].put_device(ACCOUNT)


def call_through(pbx: Pbx, node: Node) -> OutgoingCall:
    """A call of the PBX that comes to this node."""
    return pbx.call("101", next_hop=node.sip_address)


async def pushed(sink: PushSink) -> Push:
    return (await sink.wait(1, kind="call", within=10))[0]


async def test_a_client_finds_at_any_node_what_it_made_at_another(cluster: Cluster) -> None:
    """What one node has answered holds at all: each step of an enrolment at another node, one
    right after the other, finds what the step before has made.
    """
    auth = {"user": "101", "realm": "pbx.test", "password": PASSWORD}
    for number in range(5):
        name = f"a{number}"
        one, two, three = cluster.nodes
        await one.put_account(
            name, f"sip:5{number}@pbx.test", topology="trunk", pbx="trunk", app_auth=auth
        )
        minted = await two.expect("POST", f"/v1/accounts/{name}/enrolments", {})
        device = {"provider": "webhook", "app_id": "com.example.phone", "token": f"t{number}"}
        status, enrolled = await three.request(
            "POST", "/v1/enrol", {"code": minted["code"], "device": "handset"}
        )
        assert status in (200, 201), enrolled
        path = f"/v1/accounts/{name}/devices/handset"
        status, put = await one.request("PUT", path, device, key=enrolled["device_key"])
        assert status in (200, 201), put
        status, shown = await two.request("GET", path, key=enrolled["device_key"])
        assert (status, shown["provider"]) == (200, "webhook")
        await three.expect("DELETE", f"/v1/accounts/{name}")
        assert (await one.request("GET", f"/v1/accounts/{name}"))[0] == 404
        assert (await two.request("GET", path, key=enrolled["device_key"]))[0] == 401


async def test_a_call_is_shown_and_declined_at_any_node(
    cluster: Cluster, account: str, pbx: Pbx, push_sink: PushSink
) -> None:
    """A call that one node holds: another one shows it as it is now, with its node's name; takes
    the app's report; and declines it, which ends it for the caller at once.
    """
    call = call_through(pbx, cluster[0])
    push = await pushed(push_sink)
    path = f"/v1/calls/{push.call_id}"
    shown = await cluster[1].expect("GET", path)
    assert (shown["node"], shown["state"]) == ("n1", "waking")
    told = {"event": "push_received", "device": "handset", "network": "wifi"}
    status, fate = await cluster[2].request("POST", f"{path}/events", told)
    assert (status, fate["taken"]) == (202, True)
    shown = await cluster[1].expect("GET", path)
    assert "push_received" in [entry["event"] for entry in shown["timeline"]]
    status, fate = await cluster[2].request(
        "POST", f"{path}/actions", {"action": "decline", "device": "handset"}
    )
    assert (status, fate["taken"]) == (202, True), fate
    assert (await call.final()).status in (480, 486, 603)
    record = await cluster[1].call_record(account=account)
    assert (record["verdict"], record["node"]) == ("declined", "n1")
    status, _ = await cluster[1].request(
        "POST", f"{path}/actions", {"action": "decline", "device": "handset"}
    )
    assert status == 409


async def test_a_silent_nodes_call_is_told_so(
    cluster: Cluster, account: str, pbx: Pbx, push_sink: PushSink
) -> None:
    """An action for a call of a node that stands still is answered with 503 that names the node;
    the call is shown as stored.
    """
    call_through(pbx, cluster[0])
    push = await pushed(push_sink)
    path = f"/v1/calls/{push.call_id}"
    assert (await cluster[1].expect("GET", path))["node"] == "n1"
    cluster[0].pause()
    try:
        status, problem = await cluster[1].request(
            "POST", f"{path}/actions", {"action": "decline", "device": "handset"}
        )
        assert status == 503
        assert "node n1" in problem["detail"]
        assert (await cluster[1].expect("GET", path))["state"] == "waking"
    finally:
        cluster[0].resume()


async def test_registration_is_shown_at_any_node(cluster: Cluster, kamailio: Kamailio) -> None:
    """Each node tells how an account is registered, whichever of them registers it."""
    await cluster.put_account(
        "bob", "sip:102@pbx.test", password="pw-102", registrar=kamailio.uri(), register="always"
    )
    for node in cluster.nodes:
        found = await node.is_registered("bob")
        assert found["last_status"] == 200
        listed = await node.expect("GET", "/v1/accounts")
        states = [each["status"]["registration"]["state"] for each in listed["accounts"]]
        assert states == ["registered"]


async def test_nonces_are_good_at_every_node(cluster: Cluster, account: str) -> None:
    """The challenge of one node is answered at another, which accepts; a second use of the same
    answer there is stale.
    """
    one, two = cluster[0], cluster[1]
    async with one.phone(AOR, password=PASSWORD, device="handset") as phone:
        await phone.wake()
        challenge = await phone.agent.request(phone.register_request(), one.sip_address)
        assert challenge.status == 401
        assert phone.credentials is not None
        answer = answer_challenge(
            challenge, phone.credentials, method="REGISTER", uri=f"sip:{phone.domain}"
        )
        statuses = []
        for _ in range(2):
            request = phone.register_request(headers=(answer,))
            statuses.append((await phone.agent.request(request, two.sip_address)).status)
        assert statuses == [200, 401]


async def test_the_overview_lists_all_nodes(cluster: Cluster) -> None:
    """Every node shows all of them with their states, and says which one it is."""
    for node in cluster.nodes:

        async def overview(node: Node = node) -> dict[str, Any]:
            found: dict[str, Any] = await node.expect("GET", "/v1/overview")
            return found

        shown = await node.eventually(
            overview,
            lambda found: {each["status"] for each in found["nodes"]} == {"ready"},
            within=5,
            what="three ready nodes",
        )
        assert [each["id"] for each in shown["nodes"]] == ["n1", "n2", "n3"]
        assert [each["id"] for each in shown["nodes"] if each["this"]] == [node.node]
