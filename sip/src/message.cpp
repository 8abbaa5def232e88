#include "message.hpp"

#include <algorithm>
#include <charconv>
#include <optional>

namespace push_proxy {
namespace {

// More than may come in, for what a proxy adds: whether it fits a datagram, the socket will tell.
constexpr std::size_t kLongest = 96 * 1024;
// What pjsip adds to a request while it sends it: the sent-by, transport and rport of our Via.
constexpr std::size_t kViaGrowth = 512;

// pjsip would give each message PJSIP_MAX_PKT_LEN (64 kB) to print into, and a transaction keeps it
// for 32 s. So a message is printed here once, and gets a buffer made to measure: a held call costs
// a fraction, and no message that came in is too long to leave. A response stays as printed.
TxData seal(TxData tdata) {
    fit(tdata.get());
    return tdata;
}

TxData new_tdata(pjsip_endpoint* endpoint) {
    pjsip_tx_data* tdata;
    check(pjsip_endpt_create_tdata(endpoint, &tdata), "message");
    pjsip_tx_data_add_ref(tdata);
    return TxData(tdata);
}

void add_header(pjsip_tx_data* tdata, std::string_view name, std::string_view value) {
    if (name.empty() || (std::string(name) += value).find_first_of("\r\n") != std::string::npos)
        throw std::invalid_argument("not a header: '" + std::string(name) + "'");
    const pj_str_t n = borrow(name);
    const pj_str_t v = borrow(value);
    auto* header = pjsip_generic_string_hdr_create(tdata->pool, &n, &v);
    pjsip_msg_add_hdr(tdata->msg, reinterpret_cast<pjsip_hdr*>(header));
}

void set_body(pjsip_tx_data* tdata, std::string_view content_type, std::string_view data) {
    if (data.empty()) return;  // pjsip prints "Content-Length: 0" by itself
    auto* body = PJ_POOL_ZALLOC_T(tdata->pool, pjsip_msg_body);
    // With an empty type pjsip prints neither Content-Type nor Content-Length: both are ours.
    add_header(tdata, "Content-Type", content_type.empty() ? "application/octet-stream" : content_type);
    add_header(tdata, "Content-Length", std::to_string(data.size()));
    body->data = pj_pool_alloc(tdata->pool, data.size());
    pj_memcpy(body->data, data.data(), data.size());
    body->len = static_cast<unsigned>(data.size());
    body->print_body = &pjsip_print_text_body;
    body->clone_data = &pjsip_clone_text_data;
    tdata->msg->body = body;
}

pjsip_uri* parse_uri(pj_pool_t* pool, const std::string& text) {
    // pjsip wants a terminated, writable buffer that lives as long as the URI.
    pj_str_t buffer = pooled(pool, std::string_view(text.c_str(), text.size() + 1));
    auto* uri = pjsip_parse_uri(pool, buffer.ptr, text.size(), 0);
    if (!uri) throw std::invalid_argument("not a URI: '" + text + "'");
    return uri;
}

bool named(const pjsip_hdr* header, std::string_view name) {
    const pj_str_t wanted = borrow(name);
    return pj_stricmp(&header->name, &wanted) == 0 || (header->sname.slen && pj_stricmp(&header->sname, &wanted) == 0);
}

std::string_view trimmed(std::string_view text) {
    const auto first = text.find_first_not_of(" \t\r\n");
    if (first == std::string_view::npos) return {};
    return text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

bool equals_ignoring_case(std::string_view a, std::string_view b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                      [](unsigned char x, unsigned char y) { return std::tolower(x) == std::tolower(y); });
}

// Value of a header in a raw header block; folded lines are joined.
std::optional<std::string> raw_header(std::string_view block, std::string_view name, std::string_view compact) {
    while (!block.empty()) {
        auto end = block.find('\n');
        while (end != std::string_view::npos && end + 1 < block.size() &&
               (block[end + 1] == ' ' || block[end + 1] == '\t'))
            end = block.find('\n', end + 1);
        const auto line = block.substr(0, end);
        block = end == std::string_view::npos ? std::string_view() : block.substr(end + 1);
        const auto colon = line.find(':');
        if (colon == std::string_view::npos) continue;
        const auto key = trimmed(line.substr(0, colon));
        if (!equals_ignoring_case(key, name) && !equals_ignoring_case(key, compact)) continue;
        std::string value(trimmed(line.substr(colon + 1)));
        std::replace_if(
            value.begin(), value.end(), [](char c) { return c == '\r' || c == '\n'; }, ' ');
        return value;
    }
    return std::nullopt;
}

}  // namespace

namespace {

// A packet's header block and all that follows the empty line.
std::pair<std::string_view, std::string_view> split(const pjsip_rx_data* rdata) {
    const std::string_view raw(rdata->msg_info.msg_buf, static_cast<std::size_t>(rdata->msg_info.len));
    for (auto at = raw.find('\n'); at != std::string_view::npos; at = raw.find('\n', at + 1)) {
        auto rest = raw.substr(at + 1);
        if (rest.starts_with('\r')) rest.remove_prefix(1);
        if (rest.starts_with('\n')) return {raw.substr(0, at), rest.substr(1)};
    }
    return {raw, {}};
}

}  // namespace

std::optional<std::size_t> content_length(std::string_view block) {
    const auto text = raw_header(block, "Content-Length", "l");
    std::size_t length;
    if (!text) return std::nullopt;
    const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), length);
    return error == std::errc() ? std::optional(length) : std::nullopt;
}

RawBody raw_body(const pjsip_rx_data* rdata) {
    auto [block, data] = split(rdata);
    // RFC 3261 18.3: over UDP bytes beyond Content-Length are padding.
    data = data.substr(0, content_length(block).value_or(data.size()));
    return {raw_header(block, "Content-Type", "c").value_or(""), std::string(data)};
}

bool truncated(const pjsip_rx_data* rdata) {
    const auto [block, data] = split(rdata);
    return content_length(block).value_or(0) > data.size();
}

std::optional<std::string> raw_header(const pjsip_rx_data* rdata, std::string_view name, std::string_view compact) {
    return raw_header(split(rdata).first, name, compact);
}

bool ambiguous(const pjsip_msg* msg) {
    for (const auto type : {PJSIP_H_FROM, PJSIP_H_TO, PJSIP_H_CALL_ID, PJSIP_H_CSEQ, PJSIP_H_MAX_FORWARDS,
                            PJSIP_H_CONTENT_LENGTH, PJSIP_H_CONTENT_TYPE}) {
        const auto* first = static_cast<const pjsip_hdr*>(pjsip_msg_find_hdr(msg, type, nullptr));
        if (first && first->next != &msg->hdr && pjsip_msg_find_hdr(msg, type, first->next)) return true;
    }
    return false;
}

std::string header_value(const pjsip_msg* msg, std::string_view name) {
    const pj_str_t wanted = borrow(name);
    const auto* header =
        static_cast<const pjsip_generic_string_hdr*>(pjsip_msg_find_hdr_by_name(msg, &wanted, nullptr));
    return header ? copy(header->hvalue) : std::string();
}

std::string print_uri(pjsip_uri_context_e context, const void* uri) {
    char buffer[PJSIP_MAX_PKT_LEN];  // no URI that came in is longer
    const int length = pjsip_uri_print(context, uri, buffer, sizeof buffer);
    return length > 0 ? std::string(buffer, static_cast<std::size_t>(length)) : std::string();
}

void fit(pjsip_tx_data* tdata) {
    static thread_local char scratch[kLongest + 1];
    const auto length = pjsip_msg_print(tdata->msg, scratch, sizeof scratch);
    if (length < 0) throw std::invalid_argument("the message is too long");
    const bool response = tdata->msg->type == PJSIP_RESPONSE_MSG;
    const auto size = static_cast<std::size_t>(length) + (response ? 1 : kViaGrowth);
    auto& buffer = tdata->buf;
    buffer.start = static_cast<char*>(pj_pool_alloc(tdata->pool, size));
    buffer.cur = buffer.start;
    buffer.end = buffer.start + size;
    if (!response) return;
    pj_memcpy(buffer.start, scratch, static_cast<std::size_t>(length));
    buffer.cur += length;
    *buffer.cur = '\0';
}

TxData make_response(pjsip_endpoint* endpoint, const pjsip_msg* request, int status, std::string_view reason,
                     std::string_view to_tag, const Headers& headers, std::string_view body) {
    if (status < 100 || status > 699) throw std::invalid_argument("not a SIP status: " + std::to_string(status));
    // pjsip prints the start line without looking at the buffer's end.
    if (reason.size() > 1000 || reason.find_first_of("\r\n") != std::string_view::npos)
        throw std::invalid_argument("not a reason phrase");
    auto tdata = new_tdata(endpoint);
    auto* pool = tdata->pool;
    auto* msg = tdata->msg = pjsip_msg_create(pool, PJSIP_RESPONSE_MSG);
    msg->line.status.code = status;
    msg->line.status.reason = reason.empty() ? *pjsip_get_status_text(status) : pooled(pool, reason);
    for (auto* header = request->hdr.next; header != &request->hdr; header = header->next) {
        switch (header->type) {
            case PJSIP_H_VIA:
            case PJSIP_H_FROM:
            case PJSIP_H_CALL_ID:
            case PJSIP_H_CSEQ:
            case PJSIP_H_RECORD_ROUTE:
                pjsip_msg_add_hdr(msg, static_cast<pjsip_hdr*>(pjsip_hdr_clone(pool, header)));
                break;
            case PJSIP_H_TO: {
                auto* to = static_cast<pjsip_to_hdr*>(pjsip_hdr_clone(pool, header));
                if (to->tag.slen == 0 && status > 100) to->tag = pooled(pool, to_tag);
                pjsip_msg_add_hdr(msg, reinterpret_cast<pjsip_hdr*>(to));
                break;
            }
            default:
                // RFC 3261 8.2.6.1: a 100 carries the request's Timestamp.
                if (status == 100 && named(header, "Timestamp"))
                    pjsip_msg_add_hdr(msg, static_cast<pjsip_hdr*>(pjsip_hdr_clone(pool, header)));
        }
    }
    std::string_view content_type;
    for (const auto& [name, value] : headers) {
        if (equals_ignoring_case(name, "Content-Type")) {
            content_type = value;
        } else {
            add_header(tdata.get(), name, value);
        }
    }
    set_body(tdata.get(), content_type, body);
    return seal(std::move(tdata));
}

TxData forward_request(pjsip_endpoint* endpoint, const pjsip_msg* request, const RawBody& body,
                       const ForwardPlan& plan) {
    auto tdata = new_tdata(endpoint);
    auto* pool = tdata->pool;
    auto* msg = tdata->msg = pjsip_msg_create(pool, PJSIP_REQUEST_MSG);
    pjsip_method_copy(pool, &msg->line.req.method, &request->line.req.method);
    msg->line.req.uri = plan.request_uri ? parse_uri(pool, *plan.request_uri)
                                         : static_cast<pjsip_uri*>(pjsip_uri_clone(pool, request->line.req.uri));
    auto* via = pjsip_via_hdr_create(pool);
    via->branch_param = pooled(pool, plan.branch);
    pjsip_msg_add_hdr(msg, reinterpret_cast<pjsip_hdr*>(via));
    for (const auto& value : plan.record_route) add_header(tdata.get(), "Record-Route", value);

    std::size_t routes = 0;
    bool max_forwards = false;
    for (auto* header = request->hdr.next; header != &request->hdr; header = header->next) {
        if (header->type == PJSIP_H_CONTENT_LENGTH || header->type == PJSIP_H_CONTENT_TYPE) continue;
        if (header->type == PJSIP_H_ROUTE && routes++ < plan.routes_to_pop) continue;
        if (plan.remove && std::any_of(plan.remove->begin(), plan.remove->end(),
                                       [&](const std::string& name) { return named(header, name); }))
            continue;
        auto* clone = static_cast<pjsip_hdr*>(pjsip_hdr_clone(pool, header));
        if (clone->type == PJSIP_H_MAX_FORWARDS) {
            max_forwards = true;
            --reinterpret_cast<pjsip_max_fwd_hdr*>(clone)->ivalue;
        }
        pjsip_msg_add_hdr(msg, clone);
    }
    if (!max_forwards) add_header(tdata.get(), "Max-Forwards", "70");
    if (plan.add)
        for (const auto& [name, value] : *plan.add) add_header(tdata.get(), name, value);
    if (!plan.to_node) follow_strict_route(tdata.get());
    hide_push_params(msg);
    set_body(tdata.get(), body.content_type, body.data);
    return seal(std::move(tdata));
}

void follow_strict_route(pjsip_tx_data* tdata) {
    auto* msg = tdata->msg;
    auto* first = static_cast<pjsip_route_hdr*>(pjsip_msg_find_hdr(msg, PJSIP_H_ROUTE, nullptr));
    if (!first) return;
    auto* uri = static_cast<pjsip_uri*>(pjsip_uri_get_uri(&first->name_addr));
    const bool sip = PJSIP_URI_SCHEME_IS_SIP(uri) || PJSIP_URI_SCHEME_IS_SIPS(uri);
    if (!sip || reinterpret_cast<pjsip_sip_uri*>(uri)->lr_param) return;
    auto* last = first;
    while (auto* next = last->next == reinterpret_cast<pjsip_route_hdr*>(&msg->hdr)
                            ? nullptr
                            : static_cast<pjsip_route_hdr*>(pjsip_msg_find_hdr(msg, PJSIP_H_ROUTE, last->next)))
        last = next;
    auto* route = pjsip_route_hdr_create(tdata->pool);
    route->name_addr.uri = msg->line.req.uri;
    pj_list_insert_after(last, route);
    pj_list_erase(first);
    msg->line.req.uri = uri;
}

TxData forward_response(pjsip_endpoint* endpoint, const pjsip_rx_data* rdata) {
    const auto* response = rdata->msg_info.msg;
    auto tdata = new_tdata(endpoint);
    auto* pool = tdata->pool;
    auto* msg = tdata->msg = pjsip_msg_create(pool, PJSIP_RESPONSE_MSG);
    msg->line.status.code = response->line.status.code;
    pj_strdup(pool, &msg->line.status.reason, &response->line.status.reason);
    for (auto* header = response->hdr.next; header != &response->hdr; header = header->next) {
        if (header->type == PJSIP_H_CONTENT_LENGTH || header->type == PJSIP_H_CONTENT_TYPE) continue;
        if (header == reinterpret_cast<pjsip_hdr*>(rdata->msg_info.via)) continue;
        pjsip_msg_add_hdr(msg, static_cast<pjsip_hdr*>(pjsip_hdr_clone(pool, header)));
    }
    hide_push_params(msg);
    const auto body = raw_body(rdata);
    set_body(tdata.get(), body.content_type, body.data);
    return seal(std::move(tdata));
}

// pjsip takes From and To without parameters, and makes a From tag of its own.
static std::pair<std::string_view, std::string_view> split_tag(std::string_view value) {
    const auto end = value.rfind('>');
    const auto at = end == std::string_view::npos ? end : value.find(";tag=", end);
    if (at == std::string_view::npos) return {value, {}};
    const auto tag = value.substr(at + 5);
    return {value.substr(0, at), tag.substr(0, tag.find(';'))};
}

TxData make_request(pjsip_endpoint* endpoint, const RequestOrder& order) {
    // These two belong to another transaction (RFC 3261 9.1, 17.1.1.3).
    if (order.method == "ACK" || order.method == "CANCEL")
        throw std::invalid_argument(order.method + " cannot be sent by itself");
    const pj_str_t name = borrow(order.method);
    pjsip_method method;
    pjsip_method_init_np(&method, const_cast<pj_str_t*>(&name));
    const pj_str_t uri = borrow(order.request_uri);
    const auto [from_address, from_tag] = split_tag(order.from);
    const auto [to_address, to_tag] = split_tag(order.to);
    const pj_str_t from = borrow(from_address);
    const pj_str_t to = borrow(to_address);
    const pj_str_t call_id = borrow(order.call_id);
    pjsip_tx_data* made;
    const auto status =
        pjsip_endpt_create_request(endpoint, &method, &uri, &from, &to, nullptr, &call_id, order.cseq, nullptr, &made);
    if (status != PJ_SUCCESS) throw std::invalid_argument("cannot build the request: " + describe(status));
    TxData tdata(made);
    if (!from_tag.empty()) PJSIP_MSG_FROM_HDR(tdata->msg)->tag = pooled(tdata->pool, from_tag);
    PJSIP_MSG_TO_HDR(tdata->msg)->tag = pooled(tdata->pool, to_tag);
    std::string_view content_type;
    for (const auto& [key, value] : order.headers) {
        if (equals_ignoring_case(key, "Content-Type")) {
            content_type = value;
        } else {
            add_header(tdata.get(), key, value);
        }
    }
    set_body(tdata.get(), content_type, order.body);
    return seal(std::move(tdata));
}

}  // namespace push_proxy
