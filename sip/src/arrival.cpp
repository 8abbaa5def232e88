// Every message that parses, before pjsip's transaction layer sees it.
#include "engine.hpp"

namespace push_proxy {
namespace {

// Joins folded header lines in place (RFC 3261 7.3.1); false when there are none.
bool unfold(char* packet, std::size_t size) {
    const std::string_view text(packet, size);
    bool found = false;
    for (auto at = text.find('\n'); at != std::string_view::npos && at + 1 < size; at = text.find('\n', at + 1)) {
        const char next = packet[at + 1];
        if (next == '\n' || next == '\r') break;  // the empty line, or as good as one
        if (next != ' ' && next != '\t') continue;
        packet[at] = packet[at + 1] = ' ';
        if (at > 0 && packet[at - 1] == '\r') packet[at - 1] = ' ';
        found = true;
    }
    return found;
}

// pjsip keeps only the last two lines of a header that it does not know: parsed again, unfolded.
void parse_again(pjsip_rx_data* rdata) {
    auto& info = rdata->msg_info;
    const auto before = info;
    info = {};
    pj_list_init(&info.parse_err);
    info.msg_buf = before.msg_buf;
    info.len = before.len;
    const auto* msg = pjsip_parse_rdata(info.msg_buf, static_cast<pj_size_t>(info.len), rdata);
    if (!msg || !pj_list_empty(&info.parse_err) || !info.from || !info.to || !info.cid || !info.cseq || !info.via) {
        info = before;
        pj_list_init(&info.parse_err);
        return;
    }
    if (msg->type != PJSIP_REQUEST_MSG) return;
    info.via->recvd_param = before.via->recvd_param;
    info.via->rport_param = before.via->rport_param;
}

}  // namespace

bool Engine::on_arrival(pjsip_rx_data* rdata) {
    if (closed_ && !restoring_) return false;
    auto& info = rdata->msg_info;
    if (unfold(info.msg_buf, static_cast<std::size_t>(info.len))) parse_again(rdata);
    // RFC 3261 18.2.2 would have us answer wherever maddr points, and look up its name, for anybody.
    if (info.msg->type == PJSIP_REQUEST_MSG) info.via->maddr_param = {};
    // A response that comes after a restart must find the connection again: its address is in our Via's
    // neighbour then, asked for or not.
    if (info.msg->type == PJSIP_REQUEST_MSG && is_stream(rdata->tp_info.transport))
        info.via->rport_param = rdata->pkt_info.src_port;
    keep_from_and_to(rdata);
    if (!restoring_ && info.msg->type == PJSIP_REQUEST_MSG && info.msg->line.req.method.id == PJSIP_INVITE_METHOD &&
        (!restored_.empty() || (from_node(info.msg) && is_stream(rdata->tp_info.transport))))
        on_repeated(rdata);
    return true;
}

}  // namespace push_proxy
