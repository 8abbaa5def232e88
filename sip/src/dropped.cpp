// What pjsip drops before any module sees it. A malformed header would otherwise lose a call in
// silence: the sender of a request gets 400 (RFC 3261 8.2, RFC 4475).
#include <cstddef>
#include <cstdint>

#include "engine.hpp"

namespace push_proxy {
namespace {

std::string_view next_line(std::string_view& rest) {
    auto end = rest.find('\n');
    while (end != std::string_view::npos && end + 1 < rest.size() && (rest[end + 1] == ' ' || rest[end + 1] == '\t'))
        end = rest.find('\n', end + 1);  // folded
    auto line = rest.substr(0, end);
    rest = end == std::string_view::npos ? std::string_view() : rest.substr(end + 1);
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    return line;
}

bool starts_with_header(std::string_view line, std::string_view name, std::string_view compact) {
    const auto colon = line.find(':');
    if (colon == std::string_view::npos) return false;
    auto key = line.substr(0, colon);
    while (!key.empty() && (key.back() == ' ' || key.back() == '\t')) key.remove_suffix(1);
    const pj_str_t k = borrow(key);
    const pj_str_t n = borrow(name);
    const pj_str_t c = borrow(compact);
    return pj_stricmp(&k, &n) == 0 || pj_stricmp(&k, &c) == 0;
}

// The answer to a request that cannot be parsed: the headers that a response must copy, as they came.
// Empty when it is no request worth an answer.
std::string bad_request(std::string_view packet, std::string_view tag, std::string_view fault) {
    while (packet.starts_with('\r') || packet.starts_with('\n')) packet.remove_prefix(1);
    const auto start = next_line(packet);
    const auto version = start.rfind(" SIP/");
    if (version == std::string_view::npos || start.starts_with("SIP/") || start.starts_with("ACK ")) return {};
    std::string out = "SIP/2.0 ";
    out += start.substr(version) == " SIP/2.0" ? fault : "505 Version Not Supported";
    out += "\r\n";
    unsigned seen = 0;
    while (!packet.empty()) {
        const auto line = next_line(packet);
        if (line.empty()) break;
        unsigned which = 0;
        if (starts_with_header(line, "Via", "v")) which = 1;
        if (starts_with_header(line, "From", "f")) which = 2;
        if (starts_with_header(line, "To", "t")) which = 4;
        if (starts_with_header(line, "Call-ID", "i")) which = 8;
        if (starts_with_header(line, "CSeq", "cseq")) which = 16;
        if (which == 0 || (which != 1 && seen & which)) continue;
        seen |= which;
        out += line;
        if (which == 4 && line.find("tag=") == std::string_view::npos) out.append(";tag=").append(tag);
        out += "\r\n";
    }
    return seen == 31 ? out + "Content-Length: 0\r\n\r\n" : std::string();
}

// The callback names no sender. Over UDP the data lies in the packet buffer of an rx_data, behind the
// line breaks that pjsip has skipped; its transport pointer confirms the find.
const pjsip_rx_data* holder(const pjsip_tp_dropped_data* dropped) {
    const char* packet = static_cast<const char*>(dropped->data);
    for (;; --packet) {
        const auto at = reinterpret_cast<std::uintptr_t>(packet - offsetof(pjsip_rx_data, pkt_info.packet));
        const auto* rdata = reinterpret_cast<const pjsip_rx_data*>(at);
        if (at % alignof(pjsip_rx_data) == 0 && rdata->tp_info.transport == dropped->tp) return rdata;
        if (packet[-1] != '\r' && packet[-1] != '\n') return nullptr;
    }
}

}  // namespace

void Engine::on_dropped(pjsip_tp_dropped_data* dropped) {
    if (dropped->status == PJ_EIGNORED) return;  // CRLF keep-alives
    if (closed_ || restoring_) return;
    if (auto* stream = as_stream(dropped->tp))
        return on_malformed(*stream, {static_cast<char*>(dropped->data), dropped->len}, "400 Malformed Message");
    count("rejected.", "malformed");
    const auto* rdata = holder(dropped);
    if (!rdata) return;
    answer_raw(rdata, {static_cast<char*>(dropped->data), dropped->len}, "400 Malformed Message");
}

// From the bytes as they came, to where they came from.
void Engine::answer_raw(const pjsip_rx_data* rdata, std::string_view packet, const char* fault) {
    const auto tag = to_hex(hmac_sha256(settings_.token_key, packet)).substr(0, 12);
    const auto answer = bad_request(packet, tag, fault);
    if (answer.empty()) return;
    auto* transport = rdata->tp_info.transport;
    if (auto* stream = as_stream(transport)) return stream->send(answer.data(), answer.size());
    pjsip_tpselector selector{};
    selector.type = PJSIP_TPSELECTOR_TRANSPORT;
    selector.u.transport = transport;
    pjsip_tpmgr_send_raw(pjsip_endpt_get_tpmgr(endpoint_), static_cast<pjsip_transport_type_e>(transport->key.type),
                         &selector, nullptr, answer.data(), answer.size(), &rdata->pkt_info.src_addr,
                         rdata->pkt_info.src_addr_len, nullptr, nullptr);
}

// The same on a connection, whose framing may be lost with it.
void Engine::on_malformed(Stream& stream, std::string_view packet, const char* fault) {
    count("rejected.", "malformed");
    const auto tag = to_hex(hmac_sha256(settings_.token_key, packet)).substr(0, 12);
    const auto answer = bad_request(packet, tag, fault);
    if (!answer.empty()) stream.send(answer.data(), answer.size());
}

}  // namespace push_proxy
