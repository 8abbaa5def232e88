// The ends of branches that nobody wants: CANCEL (RFC 3261 9.1), ACK and BYE of a 2xx that came all the same.
#include "engine.hpp"
#include "response.hpp"

namespace push_proxy {

void Engine::cancel(const CancelOrder& order) {
    auto* branch = find(order.txn, order.branch);
    if (!branch) return failed("cancel", order.txn, order.branch, "no such branch");
    want_cancel(*branch, order.reason);
}

void Engine::want_cancel(Branch& branch, const std::string& reason) {
    if (branch.final || branch.cancel_wanted) return;
    branch.cancel_wanted = true;
    branch.cancel_reason = reason;
    // RFC 3261 9.1: no CANCEL before a provisional response.
    if (branch.provisional) {
        send_cancel(branch);
    } else if (branch.tsx && branch.txn.invite) {
        stop_repeating(branch);
    }
}

// A cancelled INVITE that has not been heard of yet: it is repeated until 8*T1 after it was first sent, for
// who rings may be waiting for a CANCEL, and only its 180 was lost. Then no more: a phone that wakes so late
// would ring for a call that is over.
void Engine::stop_repeating(Branch& branch) {
    using std::chrono::milliseconds;
    const auto age = std::chrono::duration_cast<milliseconds>(Clock::now() - branch.started);
    const auto left = milliseconds(8 * pjsip_cfg()->tsx.t1) - age;
    if (left <= milliseconds(0)) {
        pjsip_tsx_stop_retransmit(branch.tsx);
        return;
    }
    // Timer C runs only after a provisional response, which ends this.
    disarm(branch.timer_c);
    pj_timer_entry_init(&branch.timer_c, 1, &branch, [](pj_timer_heap_t*, pj_timer_entry* entry) {
        entry->id = 0;
        auto* tsx = static_cast<Branch*>(entry->user_data)->tsx;
        if (tsx) pjsip_tsx_stop_retransmit(tsx);
    });
    const pj_time_val delay{static_cast<long>(left.count() / 1000), static_cast<long>(left.count() % 1000)};
    pjsip_endpt_schedule_timer(endpoint_, &branch.timer_c, &delay);
}

void Engine::send_cancel(Branch& branch) {
    if (branch.cancel_sent || !branch.tsx || !branch.txn.invite) return;
    branch.cancel_sent = send_cancel(branch.tsx, branch.cancel_reason, hop_of(branch));
    // RFC 3261 9.1: 64*T1 after the CANCEL the branch is over, answered or not.
    if (branch.cancel_sent && branch.tsx) pjsip_tsx_set_timeout(branch.tsx, pjsip_cfg()->tsx.td);
}

// CANCEL of an INVITE that has had a provisional response. False when it cannot be built. Its connection may
// turn out to be gone: then the INVITE's transaction is gone as well when this returns.
bool Engine::send_cancel(pjsip_transaction* invite, const std::string& reason, const Hop& hop) {
    pjsip_tx_data* made;
    if (pjsip_endpt_create_cancel(endpoint_, invite->last_tx, &made) != PJ_SUCCESS) return false;
    TxData tdata(made);
    if (!reason.empty() && reason.find_first_of("\r\n") == std::string::npos) {
        const pj_str_t name = borrow("Reason");
        const pj_str_t value = borrow(reason);
        auto* header = pjsip_generic_string_hdr_create(tdata->pool, &name, &value);
        pjsip_msg_add_hdr(tdata->msg, reinterpret_cast<pjsip_hdr*>(header));
    }
    send_in_transaction(std::move(tdata), hop, nullptr);
    return true;
}

void Engine::ack_and_bye(const AckAndByeOrder& order) {
    auto* branch = find(order.txn, order.branch);
    const auto fail = [&](const char* reason) { failed("ack_and_bye", order.txn, order.branch, reason); };
    if (!branch) return fail("no such branch");
    const auto found = branch->responses.find(order.response);
    if (found == branch->responses.end()) return fail("no such response");
    if (status_of(found->second) / 100 != 2) return fail("not a 2xx");
    const auto response = std::move(found->second);
    branch->responses.erase(found);
    TxData ack;
    if (!end_dialog(response->msg, hop_of(*branch), &ack))
        return fail("the 2xx has no SIP Contact to end the dialog at");
    if (ack) branch->acks[to_tag(response)] = std::move(ack);
}

// ACK and BYE of a 2xx that nobody wants. False when it does not say where to.
bool Engine::end_dialog(pjsip_msg* msg, const Hop& hop, TxData* kept_ack) {
    const auto* contact = static_cast<pjsip_contact_hdr*>(pjsip_msg_find_hdr(msg, PJSIP_H_CONTACT, nullptr));
    if (!contact || !contact->uri || !sip_uri(contact->uri)) return false;
    // RFC 3261 12.1.2: the proxies between us and the phone, nearest to us first.
    std::vector<const pjsip_routing_hdr*> route_set;
    for (const pjsip_hdr* header = msg->hdr.next; header != &msg->hdr; header = header->next) {
        if (header->type != PJSIP_H_RECORD_ROUTE) continue;
        const auto* record = reinterpret_cast<const pjsip_routing_hdr*>(header);
        const auto* uri = sip_uri(record->name_addr.uri);
        if (uri && (is_us(uri) || decode_route_token(view(uri->user), settings_.token_key))) break;
        route_set.insert(route_set.begin(), record);
    }
    const auto make = [&](const pjsip_method* method, int cseq) -> TxData {
        pjsip_tx_data* made;
        const auto status = pjsip_endpt_create_request_from_hdr(
            endpoint_, method, static_cast<pjsip_uri*>(pjsip_uri_get_uri(contact->uri)),
            static_cast<pjsip_from_hdr*>(pjsip_msg_find_hdr(msg, PJSIP_H_FROM, nullptr)),
            static_cast<pjsip_to_hdr*>(pjsip_msg_find_hdr(msg, PJSIP_H_TO, nullptr)), nullptr,
            static_cast<pjsip_cid_hdr*>(pjsip_msg_find_hdr(msg, PJSIP_H_CALL_ID, nullptr)), cseq, nullptr, &made);
        if (status != PJ_SUCCESS) return nullptr;
        for (const auto* record : route_set) {
            auto* route = pjsip_route_hdr_create(made->pool);
            pjsip_name_addr_assign(made->pool, &route->name_addr, &record->name_addr);
            pjsip_msg_add_hdr(made->msg, reinterpret_cast<pjsip_hdr*>(route));
        }
        follow_strict_route(made);
        return TxData(made);
    };
    const int cseq = static_cast<pjsip_cseq_hdr*>(pjsip_msg_find_hdr(msg, PJSIP_H_CSEQ, nullptr))->cseq;
    if (auto ack = make(pjsip_get_ack_method(), cseq)) {
        auto* via = static_cast<pjsip_via_hdr*>(pjsip_msg_find_hdr(ack->msg, PJSIP_H_VIA, nullptr));
        via->branch_param = pooled(ack->pool, make_branch(0, "", settings_.token_key));
        send_stateless(ack, hop);
        if (kept_ack) *kept_ack = std::move(ack);
    }
    if (auto bye = make(pjsip_get_bye_method(), cseq + 1)) send_in_transaction(std::move(bye), hop, nullptr);
    return true;
}

}  // namespace push_proxy
