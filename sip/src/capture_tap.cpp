#include "capture_tap.hpp"

#include "connections.hpp"
#include "masking.hpp"

namespace push_proxy {
namespace {

MessageCapture* g_capture = nullptr;

// Fills in what both directions have in common; false when nobody wants the message.
bool describe(CapturedMessage& out, const pjsip_msg* msg, const pjsip_cid_hdr* call_id, const pjsip_cseq_hdr* cseq,
              pjsip_transport* transport, const pj_sockaddr& peer) {
    if (!call_id || !cseq || cseq->method.id == PJSIP_OPTIONS_METHOD) return false;
    if (cseq->method.id == PJSIP_REGISTER_METHOD) {
        const bool request = msg->type == PJSIP_REQUEST_MSG;
        if (request == out.sent) return false;  // ours, or the answer to ours
        out.device_register = true;
    }
    out.call_id = copy(call_id->id);
    if (const auto* stream = as_stream(transport)) {
        out.peer = stream->remote;
        out.local = stream->listener->bound;
    } else {
        out.peer = to_address(peer, "udp");
        out.local = to_address(transport->local_addr, "udp");
    }
    return true;
}

template <class Work>
void copying(Work&& work) noexcept {
    if (!g_capture || !g_capture->on()) return;
    try {
        work();
    } catch (const std::exception&) {
        g_capture->lose();
    }
}

pj_bool_t on_received(pjsip_rx_data* rdata) {
    copying([&] {
        auto made = std::make_shared<CapturedMessage>();
        auto& message = *made;
        const auto& info = rdata->msg_info;
        if (!describe(message, info.msg, info.cid, info.cseq, rdata->tp_info.transport, rdata->pkt_info.src_addr))
            return;
        message.raw.assign(info.msg_buf, static_cast<std::size_t>(info.len));
        mask_secrets(message.raw);
        g_capture->push(std::move(made));
    });
    return PJ_FALSE;
}

// By now the message has been printed, and knows where it goes.
pj_status_t on_sent(pjsip_tx_data* tdata) {
    copying([&] {
        if (!tdata->tp_info.transport || !tdata->buf.start) return;
        auto made = std::make_shared<CapturedMessage>();
        auto& message = *made;
        message.sent = true;
        if (!describe(message, tdata->msg, PJSIP_MSG_CID_HDR(tdata->msg), PJSIP_MSG_CSEQ_HDR(tdata->msg),
                      tdata->tp_info.transport, tdata->tp_info.dst_addr))
            return;
        message.raw.assign(tdata->buf.start, static_cast<std::size_t>(tdata->buf.cur - tdata->buf.start));
        mask_secrets(message.raw);
        g_capture->push(std::move(made));
    });
    return PJ_SUCCESS;
}

pjsip_module describe_tap() {
    static char name[] = "mod-push-proxy-capture";
    pjsip_module module{};
    module.name = pj_str(name);
    module.id = -1;
    // Nearer to the transports than what prints messages, so that outgoing ones are complete.
    module.priority = PJSIP_MOD_PRIORITY_TRANSPORT_LAYER - 1;
    module.on_rx_request = &on_received;
    module.on_rx_response = &on_received;
    module.on_tx_request = &on_sent;
    module.on_tx_response = &on_sent;
    return module;
}

pjsip_module g_tap = describe_tap();

}  // namespace

CaptureTap::CaptureTap(pjsip_endpoint* endpoint, MessageCapture& capture) : endpoint_(endpoint) {
    g_tap = describe_tap();
    check(pjsip_endpt_register_module(endpoint_, &g_tap), "pjsip module");
    g_capture = &capture;
}

CaptureTap::~CaptureTap() {
    g_capture = nullptr;
    pjsip_endpt_unregister_module(endpoint_, &g_tap);
}

}  // namespace push_proxy
