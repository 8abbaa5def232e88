// Responses that match no client transaction (RFC 3261 16.7, 18.1.2).
#include "engine.hpp"
#include "response.hpp"

namespace push_proxy {

// A response that matches no client transaction: a repeated 2xx, or one from before a restart.
void Engine::on_stray_response(pjsip_rx_data* rdata) {
    const int code = rdata->msg_info.msg->line.status.code;
    count("received.", status_class(code));
    // A CANCEL has the branch of its INVITE, and its answer goes no further (RFC 3261 9.1).
    if (rdata->msg_info.cseq->method.id == PJSIP_CANCEL_METHOD) return;
    const std::string via_branch = copy(rdata->msg_info.via->branch_param);
    if (!verify_branch(via_branch, settings_.token_key)) return;  // not ours: dropped (RFC 3261 18.1.2)
    const auto known = by_via_branch_.find(via_branch);
    if (known != by_via_branch_.end()) return late_response(*known->second, rdata);
    if (auto* txn = restored_by(rdata)) return answer_restored(*txn, rdata);
    send_upstream(rdata);
}

// A response on a branch that is over: only a 2xx still matters.
void Engine::late_response(Branch& branch, pjsip_rx_data* rdata) {
    if (rdata->msg_info.msg->line.status.code / 100 != 2) return;
    answered_from(branch, rdata);
    // By the flow that the request has left: the device had it after all.
    if (branch.txn.toward) return respond(branch.txn, forward_response(endpoint_, rdata));
    if (!branch.txn.invite) return;
    // RFC 3261 16.7 item 5: each 2xx of a request that we only pass on.
    if (branch.automatic) return send_upstream(rdata);
    const auto tag = to_tag(rdata);
    if (branch.relayed_2xx == tag) return send_upstream(rdata);
    if (const auto ack = branch.acks.find(tag); ack != branch.acks.end()) {
        // The ACK was lost, unless it still waits to leave.
        if (!ack->second->is_pending) send_stateless(ack->second, hop_of(branch));
        return;
    }
    for (const auto& [id, response] : branch.responses)
        if (status_of(response) / 100 == 2 && to_tag(response) == tag) return;  // Python is deciding
    branch_response(branch, rdata);  // after the branch was given up, or a second phone behind it
}

// Statelessly, and only to where the request came from (RFC 3261 16.7 items 3 and 9, 18.2.2).
void Engine::send_upstream(pjsip_rx_data* rdata) {
    auto tdata = forward_response(endpoint_, rdata);
    const auto* via = static_cast<pjsip_via_hdr*>(pjsip_msg_find_hdr(tdata->msg, PJSIP_H_VIA, nullptr));
    if (!via) return;
    const auto target = upstream_of(via);
    if (!branch_leads_to(view(rdata->msg_info.via->branch_param), target.text(), settings_.token_key)) return;
    pjsip_response_addr address{};
    address.addr = to_sockaddr(target);
    address.addr_len = static_cast<int>(pj_sockaddr_get_len(&address.addr));
    auto hop = hop_to_device(target, listener_of(rdata));
    // From before a restart: to the PBX where it listens, to a device never (RFC 3261 18.2.2).
    if (!hop.transport && known_peer(target)) hop = hop_to_known_peer(listening_at(via), *hop.listener);
    if (!hop.transport) return;
    address.transport = hop.transport;
    if (pjsip_endpt_send_response(endpoint_, &address, tdata.get(), nullptr, nullptr) == PJ_SUCCESS) tdata.release();
}

}  // namespace push_proxy
