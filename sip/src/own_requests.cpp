// Requests that are ours, not passed on: REGISTER, OPTIONS, an INVITE that only ends a call.
#include "engine.hpp"
#include "response.hpp"

namespace push_proxy {

void Engine::request(const RequestOrder& order) {
    auto owned = std::make_unique<OwnRequest>(order.request, !order.connect);
    auto* own = owned.get();
    try {
        auto tdata = make_request(endpoint_, order);
        const auto hop = hop_of(order);
        if (!hop.transport)
            return request_failed(order.request, hop.to_device ? 430 : 503, hop.to_device ? "Flow Failed" : hop.why);
        own->listener = hop.listener;
        own->destination = hop.destination;
        own->through = hop.through;
        if (order.method == "INVITE") own->over = order.over.value_or("");
        requests_.emplace(own, std::move(owned));
        const auto* tsx = send_in_transaction(std::move(tdata), hop, own);
        if (!tsx && requests_.erase(own)) request_failed(order.request, 503, "the request could not be sent");
    } catch (const std::invalid_argument& error) {
        request_failed(order.request, 503, error.what());
    }
}

// Without an answer from the other side.
void Engine::request_failed(std::uint64_t request, int status, const std::string& reason) {
    Fact fact = make_fact(FactKind::request_answered);
    fact.txn = request;
    fact.status = status;
    fact.text = reason;
    fact.flag = true;
    facts_.push(std::move(fact));
}

void Engine::request_state(OwnRequest& own, pjsip_transaction* tsx, pjsip_event* event) {
    const auto& state = event->body.tsx_state;
    const bool response = state.type == PJSIP_EVENT_RX_MSG && state.src.rdata->msg_info.msg->type == PJSIP_RESPONSE_MSG;
    if (response) count("received.", status_class(state.src.rdata->msg_info.msg->line.status.code));
    if (response && state.src.rdata->msg_info.msg->line.status.code < 200) return own_heard(own);
    if (!response && tsx->state < PJSIP_TSX_STATE_TERMINATED) return;
    Fact fact = make_fact(FactKind::request_answered);
    fact.txn = own.request;
    if (response) {
        const auto* rdata = state.src.rdata;
        const auto& line = rdata->msg_info.msg->line.status;
        fact.status = line.code;
        fact.text = copy(line.reason);
        fact.raw.assign(rdata->msg_info.msg_buf, static_cast<std::size_t>(rdata->msg_info.len));
    } else {
        fact.status = tsx->status_code == PJSIP_SC_TSX_TIMEOUT ? 408 : 503;
        fact.text = copy(tsx->status_text);
        fact.flag = true;
    }
    std::optional<Hop> answered;
    if (response && own.over && fact.status / 100 == 2) answered = hop_of(own);
    facts_.push(std::move(fact));
    tsx->mod_data[g_module.id] = nullptr;
    requests_.erase(&own);
    if (answered) end_dialog(state.src.rdata->msg_info.msg, *answered, nullptr);
}

// An INVITE of ours is one that is over: it is cancelled as soon as it has been heard (RFC 3261 9.1).
void Engine::own_heard(OwnRequest& own) {
    if (!own.over || own.cancel_sent || !own.tsx) return;
    own.cancel_sent = true;
    if (send_cancel(own.tsx, *own.over, hop_of(own)) && requests_.contains(&own) && own.tsx)
        pjsip_tsx_set_timeout(own.tsx, pjsip_cfg()->tsx.td);
}

}  // namespace push_proxy
