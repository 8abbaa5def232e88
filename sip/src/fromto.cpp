// From and To as they came: pjsip re-prints what it has parsed, drops URI parameters and adds quotes,
// and whoever signed the value or compares it (RFC 8224) finds another.
#include <cstring>

#include "message.hpp"

namespace push_proxy {
namespace {

// pjsip's header with its value as text beside it: pjsip knows it by its type and prints it by its vptr.
struct RawFromTo {
    pjsip_fromto_hdr parsed;
    pj_str_t raw;
    bool tagged;  // the tag is part of `raw`
};

void* clone(pj_pool_t* pool, const void* header);
int print(void* header, char* buffer, pj_size_t size);
pjsip_hdr_vptr g_vptr{&clone, &clone, &print};

pjsip_fromto_hdr* make(pj_pool_t* pool, const pjsip_fromto_hdr* parsed, std::string_view raw, bool tagged) {
    auto* made = PJ_POOL_ALLOC_T(pool, RawFromTo);
    auto* header = pjsip_from_hdr_init(pool, made);
    header->type = parsed->type;
    header->name = parsed->name;
    header->sname = parsed->sname;
    header->vptr = &g_vptr;
    header->uri = static_cast<pjsip_uri*>(pjsip_uri_clone(pool, parsed->uri));
    pj_strdup(pool, &header->tag, &parsed->tag);
    pjsip_param_clone(pool, &header->other_param, &parsed->other_param);
    made->raw = pooled(pool, raw);
    made->tagged = tagged;
    return header;
}

void* clone(pj_pool_t* pool, const void* header) {
    const auto* original = static_cast<const RawFromTo*>(header);
    return make(pool, &original->parsed, view(original->raw), original->tagged);
}

int print(void* header, char* buffer, pj_size_t size) {
    const auto* original = static_cast<const RawFromTo*>(header);
    auto line = copy(original->parsed.name) + ": " + copy(original->raw);
    if (!original->tagged && original->parsed.tag.slen) line += ";tag=" + copy(original->parsed.tag);
    if (line.size() >= size) return -1;
    std::memcpy(buffer, line.c_str(), line.size() + 1);
    return static_cast<int>(line.size());
}

pjsip_fromto_hdr* keep(pj_pool_t* pool, pjsip_fromto_hdr* parsed, const std::optional<std::string>& raw) {
    if (!raw) return parsed;
    auto* header = make(pool, parsed, *raw, parsed->tag.slen != 0);
    pj_list_insert_after(parsed, header);
    pj_list_erase(parsed);
    return header;
}

}  // namespace

void keep_from_and_to(pjsip_rx_data* rdata) {
    auto& info = rdata->msg_info;
    info.from = keep(rdata->tp_info.pool, info.from, raw_header(rdata, "From", "f"));
    info.to = keep(rdata->tp_info.pool, info.to, raw_header(rdata, "To", "t"));
}

}  // namespace push_proxy
