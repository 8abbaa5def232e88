// Push parameters stay here: no PBX and no other phone learns a token (RFC 8599 4.1.1, 13). Phones put them into
// the Contact of their responses and of requests inside dialogs, which pass without anybody above having a look.
#include "message.hpp"

namespace push_proxy {
namespace {

// pn-purr says nothing, and has to come back in the requests of the dialog (RFC 8599 6).
bool is_push_param(const pj_str_t& name) {
    const pj_str_t pn = borrow("pn-");
    const pj_str_t purr = borrow("pn-purr");
    const pj_str_t app = borrow("app-id");  // Linphone's, before there was an RFC
    if (name.slen > 3 && pj_strnicmp(&name, &pn, 3) == 0) return pj_stricmp(&name, &purr) != 0;
    return pj_stricmp(&name, &app) == 0;
}

void drop_push_params(pjsip_param& list) {
    for (auto* param = list.next; param != &list;) {
        auto* next = param->next;
        if (is_push_param(param->name)) pj_list_erase(param);
        param = next;
    }
}

}  // namespace

void hide_push_params(pjsip_msg* msg) {
    for (auto* header = msg->hdr.next; header != &msg->hdr; header = header->next) {
        if (header->type != PJSIP_H_CONTACT) continue;
        auto* contact = reinterpret_cast<pjsip_contact_hdr*>(header);
        if (contact->star || !contact->uri) continue;
        drop_push_params(contact->other_param);
        auto* uri = static_cast<pjsip_uri*>(pjsip_uri_get_uri(contact->uri));
        if (PJSIP_URI_SCHEME_IS_SIP(uri) || PJSIP_URI_SCHEME_IS_SIPS(uri))
            drop_push_params(reinterpret_cast<pjsip_sip_uri*>(uri)->other_param);
    }
}

}  // namespace push_proxy
