#include "message.hpp"

#include <algorithm>
#include <charconv>
#include <optional>

namespace push_proxy {
namespace {

// pjsip gives each message PJSIP_MAX_PKT_LEN (16 kB) to print into, and a transaction keeps it for
// 32 s: with a buffer of the right size a held call costs an eighth.
void size_buffer(pjsip_tx_data* tdata, std::size_t size) {
    size = std::min<std::size_t>(size, PJSIP_MAX_PKT_LEN * 4);
    tdata->buf.start = static_cast<char*>(pj_pool_alloc(tdata->pool, size));
    tdata->buf.cur = tdata->buf.start;
    tdata->buf.end = tdata->buf.start + size;
}

pjsip_tx_data* new_tdata(pjsip_endpoint* endpoint) {
    pjsip_tx_data* tdata;
    check(pjsip_endpt_create_tdata(endpoint, &tdata), "message");
    pjsip_tx_data_add_ref(tdata);
    return tdata;
}

void add_header(pjsip_tx_data* tdata, std::string_view name, std::string_view value) {
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
        while (end != std::string_view::npos && end + 1 < block.size() && (block[end + 1] == ' ' || block[end + 1] == '\t'))
            end = block.find('\n', end + 1);
        const auto line = block.substr(0, end);
        block = end == std::string_view::npos ? std::string_view() : block.substr(end + 1);
        const auto colon = line.find(':');
        if (colon == std::string_view::npos) continue;
        const auto key = trimmed(line.substr(0, colon));
        if (!equals_ignoring_case(key, name) && !equals_ignoring_case(key, compact)) continue;
        std::string value(trimmed(line.substr(colon + 1)));
        std::replace_if(value.begin(), value.end(), [](char c) { return c == '\r' || c == '\n'; }, ' ');
        return value;
    }
    return std::nullopt;
}

}  // namespace

RawBody raw_body(const pjsip_rx_data* rdata) {
    const std::string_view raw(rdata->msg_info.msg_buf, static_cast<std::size_t>(rdata->msg_info.len));
    auto headers_end = raw.find("\r\n\r\n");
    std::size_t gap = 4;
    if (headers_end == std::string_view::npos) {
        headers_end = raw.find("\n\n");
        gap = 2;
    }
    if (headers_end == std::string_view::npos || headers_end + gap >= raw.size()) return {};
    const auto block = raw.substr(0, headers_end);
    auto data = raw.substr(headers_end + gap);
    // RFC 3261 18.3: over UDP bytes beyond Content-Length are padding.
    if (const auto length = raw_header(block, "Content-Length", "l")) {
        std::size_t count = data.size();
        std::from_chars(length->data(), length->data() + length->size(), count);
        data = data.substr(0, count);
    }
    return {raw_header(block, "Content-Type", "c").value_or(""), std::string(data)};
}

std::string header_value(const pjsip_msg* msg, std::string_view name) {
    const pj_str_t wanted = borrow(name);
    const auto* header = static_cast<const pjsip_generic_string_hdr*>(pjsip_msg_find_hdr_by_name(msg, &wanted, nullptr));
    return header ? copy(header->hvalue) : std::string();
}

std::string print_uri(pjsip_uri_context_e context, const void* uri) {
    char buffer[PJSIP_MAX_URL_SIZE * 2];
    const int length = pjsip_uri_print(context, uri, buffer, sizeof buffer);
    return length > 0 ? std::string(buffer, static_cast<std::size_t>(length)) : std::string();
}

pjsip_tx_data* make_response(pjsip_endpoint* endpoint, const pjsip_msg* request, int status,
                             std::string_view reason, std::string_view to_tag, const Headers& headers,
                             std::string_view body) {
    auto* tdata = new_tdata(endpoint);
    auto* pool = tdata->pool;
    auto* msg = tdata->msg = pjsip_msg_create(pool, PJSIP_RESPONSE_MSG);
    msg->line.status.code = status;
    msg->line.status.reason = reason.empty() ? *pjsip_get_status_text(status) : pooled(pool, reason);
    std::size_t size = 1024 + body.size();
    for (auto* header = request->hdr.next; header != &request->hdr; header = header->next) {
        switch (header->type) {
            case PJSIP_H_VIA:
            case PJSIP_H_FROM:
            case PJSIP_H_CALL_ID:
            case PJSIP_H_CSEQ:
            case PJSIP_H_RECORD_ROUTE:
                pjsip_msg_add_hdr(msg, static_cast<pjsip_hdr*>(pjsip_hdr_clone(pool, header)));
                size += 256;
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
        size += name.size() + value.size() + 8;
        if (equals_ignoring_case(name, "Content-Type")) {
            content_type = value;
        } else {
            add_header(tdata, name, value);
        }
    }
    set_body(tdata, content_type, body);
    size_buffer(tdata, size);
    return tdata;
}

pjsip_tx_data* forward_request(pjsip_endpoint* endpoint, const pjsip_msg* request, const RawBody& body,
                               std::size_t raw_size, const ForwardPlan& plan) {
    auto* tdata = new_tdata(endpoint);
    try {
        auto* pool = tdata->pool;
        auto* msg = tdata->msg = pjsip_msg_create(pool, PJSIP_REQUEST_MSG);
        pjsip_method_copy(pool, &msg->line.req.method, &request->line.req.method);
        msg->line.req.uri = plan.request_uri ? parse_uri(pool, *plan.request_uri)
                                             : static_cast<pjsip_uri*>(pjsip_uri_clone(pool, request->line.req.uri));
        auto* via = pjsip_via_hdr_create(pool);
        via->branch_param = pooled(pool, plan.branch);
        pjsip_msg_add_hdr(msg, reinterpret_cast<pjsip_hdr*>(via));
        if (!plan.record_route.empty()) add_header(tdata, "Record-Route", plan.record_route);

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
        if (!max_forwards) add_header(tdata, "Max-Forwards", "70");
        std::size_t size = raw_size + raw_size / 4 + 1536 + plan.record_route.size();
        if (plan.add) {
            for (const auto& [name, value] : *plan.add) {
                add_header(tdata, name, value);
                size += name.size() + value.size() + 8;
            }
        }
        set_body(tdata, body.content_type, body.data);
        size_buffer(tdata, size);
    } catch (...) {
        pjsip_tx_data_dec_ref(tdata);
        throw;
    }
    return tdata;
}

pjsip_tx_data* forward_response(pjsip_endpoint* endpoint, const pjsip_rx_data* rdata) {
    const auto* response = rdata->msg_info.msg;
    auto* tdata = new_tdata(endpoint);
    auto* pool = tdata->pool;
    auto* msg = tdata->msg = pjsip_msg_create(pool, PJSIP_RESPONSE_MSG);
    msg->line.status.code = response->line.status.code;
    pj_strdup(pool, &msg->line.status.reason, &response->line.status.reason);
    for (auto* header = response->hdr.next; header != &response->hdr; header = header->next) {
        if (header->type == PJSIP_H_CONTENT_LENGTH || header->type == PJSIP_H_CONTENT_TYPE) continue;
        if (header == reinterpret_cast<pjsip_hdr*>(rdata->msg_info.via)) continue;
        pjsip_msg_add_hdr(msg, static_cast<pjsip_hdr*>(pjsip_hdr_clone(pool, header)));
    }
    const auto body = raw_body(rdata);
    set_body(tdata, body.content_type, body.data);
    const auto raw_size = static_cast<std::size_t>(rdata->msg_info.len);
    size_buffer(tdata, raw_size + raw_size / 4 + 1024);
    return tdata;
}

pjsip_tx_data* make_request(pjsip_endpoint* endpoint, const RequestOrder& order) {
    const pj_str_t name = borrow(order.method);
    pjsip_method method;
    pjsip_method_init_np(&method, const_cast<pj_str_t*>(&name));
    const pj_str_t uri = borrow(order.request_uri);
    const pj_str_t from = borrow(order.from);
    const pj_str_t to = borrow(order.to);
    const pj_str_t call_id = borrow(order.call_id);
    pjsip_tx_data* tdata;
    const auto status =
        pjsip_endpt_create_request(endpoint, &method, &uri, &from, &to, nullptr, &call_id, order.cseq, nullptr, &tdata);
    if (status != PJ_SUCCESS) throw std::invalid_argument("cannot build the request: " + describe(status));
    std::string_view content_type;
    std::size_t size = 1536 + order.body.size() + 2 * (order.from.size() + order.to.size());
    for (const auto& [key, value] : order.headers) {
        size += key.size() + value.size() + 8;
        if (equals_ignoring_case(key, "Content-Type")) {
            content_type = value;
        } else {
            add_header(tdata, key, value);
        }
    }
    set_body(tdata, content_type, order.body);
    size_buffer(tdata, size);
    return tdata;
}

}  // namespace push_proxy
