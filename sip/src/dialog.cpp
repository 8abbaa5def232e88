// Requests inside dialogs: routed by the signed token in our Record-Route alone, so that an
// established call needs no state here and survives a restart (RFC 3261 16.4, 16.6, 16.12).
#include <algorithm>

#include "engine.hpp"

namespace push_proxy {
namespace {

// What an app may not say of itself (RFC 3325 5: no open relay); Python removes the same
// from its requests outside dialogs.
const std::vector<std::string> kNotFromApps{"P-Asserted-Identity", "Remote-Party-ID", "Diversion",
                                            "History-Info",        "X-Push-ID",       "X-Push-Reason"};

bool is_ip(const std::string& host) {
    try {
        to_sockaddr({host, 0});
        return true;
    } catch (const std::invalid_argument&) {
        return false;
    }
}

std::string lower(std::string text) {
    std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
    return text;
}

std::string bracketed(const std::string& host) { return host.find(':') == std::string::npos ? host : "[" + host + "]"; }

// Call UUID <-> 16 bytes.
std::string pack_uuid(const std::string& uuid) {
    std::string digits;
    std::copy_if(uuid.begin(), uuid.end(), std::back_inserter(digits), [](char c) { return c != '-'; });
    return from_hex(digits).value_or("");
}

std::string unpack_uuid(const std::string& bytes) {
    if (bytes.find_first_not_of('\0') == std::string::npos) return {};
    auto text = to_hex(bytes);
    for (const std::size_t at : {8, 13, 18, 23}) text.insert(at, "-");
    return text;
}

}  // namespace

const pjsip_routing_hdr* route_header(const pjsip_msg* msg, std::size_t index) {
    for (const pjsip_hdr* header = msg->hdr.next; header != &msg->hdr; header = header->next)
        if (header->type == PJSIP_H_ROUTE && index-- == 0) return reinterpret_cast<const pjsip_routing_hdr*>(header);
    return nullptr;
}

const pjsip_sip_uri* sip_uri(const void* uri) {
    const auto* inner = pjsip_uri_get_uri(const_cast<void*>(uri));
    return PJSIP_URI_SCHEME_IS_SIP(inner) || PJSIP_URI_SCHEME_IS_SIPS(inner) ? static_cast<const pjsip_sip_uri*>(inner)
                                                                             : nullptr;
}

namespace {

// What a URI says; empty when it says nothing. A sips URI means TLS (RFC 3261 26.2.2).
std::string named_transport(const pjsip_sip_uri* uri) {
    if (PJSIP_URI_SCHEME_IS_SIPS(uri)) return "tls";
    return lower(copy(uri->transport_param));
}

int port_of(const pjsip_sip_uri* uri) { return uri->port ? uri->port : default_port(named_transport(uri)); }

}  // namespace

std::string hop_name(const pjsip_sip_uri* uri) { return lower(copy(uri->host)) + ":" + std::to_string(port_of(uri)); }

std::string reverse_hop(const pjsip_msg* msg) {
    const auto* record = static_cast<const pjsip_rr_hdr*>(pjsip_msg_find_hdr(msg, PJSIP_H_RECORD_ROUTE, nullptr));
    const auto* contact = static_cast<const pjsip_contact_hdr*>(pjsip_msg_find_hdr(msg, PJSIP_H_CONTACT, nullptr));
    const pjsip_sip_uri* uri = nullptr;
    if (record) {
        uri = sip_uri(&record->name_addr);
    } else if (contact && contact->uri) {
        uri = sip_uri(contact->uri);
    }
    return uri ? hop_name(uri) : std::string();
}

Address upstream_of(const pjsip_via_hdr* via) {
    auto address = listening_at(via);
    if (via->rport_param > 0) address.port = via->rport_param;
    return address;
}

Address listening_at(const pjsip_via_hdr* via) {
    const auto& host = via->recvd_param.slen ? via->recvd_param : via->sent_by.host;
    const auto transport = lower(copy(via->transport));
    return {copy(host), via->sent_by.port ? via->sent_by.port : default_port(transport), transport};
}

// Same values on a second pass mean a loop; a spiral has another Request-URI or, inside a dialog between
// two of our own devices, another Route (RFC 5393 4.2.2).
std::uint32_t loop_hash(const pjsip_rx_data* rdata) {
    const auto* msg = rdata->msg_info.msg;
    std::string text = print_uri(PJSIP_URI_IN_REQ_URI, msg->line.req.uri);
    for (const auto& part : {rdata->msg_info.cid->id, rdata->msg_info.from->tag, rdata->msg_info.to->tag})
        text += "|" + copy(part);
    for (std::size_t index = 0; const auto* route = route_header(msg, index); ++index)
        text += "|" + print_uri(PJSIP_URI_IN_ROUTING_HDR, pjsip_uri_get_uri(&route->name_addr));
    return short_hash(text + "|" + std::to_string(rdata->msg_info.cseq->cseq));
}

bool Engine::looped(const pjsip_msg* msg, std::uint32_t hash) const {
    for (const pjsip_hdr* header = msg->hdr.next; header != &msg->hdr; header = header->next) {
        if (header->type != PJSIP_H_VIA) continue;
        const auto* via = reinterpret_cast<const pjsip_via_hdr*>(header);
        if (verify_branch(view(via->branch_param), settings_.token_key) == hash) return true;
    }
    return false;
}

bool Engine::is_us(const pjsip_sip_uri* uri) const {
    const auto host = lower(copy(uri->host));
    const int port = port_of(uri);
    const bool name = host == lower(settings_.public_host) ||
                      (!settings_.cluster_host.empty() && host == lower(settings_.cluster_host)) ||
                      std::any_of(settings_.own_hosts.begin(), settings_.own_hosts.end(),
                                  [&](const std::string& own) { return host == lower(own); });
    return std::any_of(listeners_.begin(), listeners_.end(), [&](const auto& listener) {
        return listener->bound.port == port && (name || listener->bound.host == host);
    });
}

std::size_t Engine::leading_own_routes(const pjsip_msg* msg) const {
    std::size_t count = 0;
    while (const auto* route = route_header(msg, count)) {
        const auto* uri = sip_uri(&route->name_addr);
        // A PBX that thinks of NATs (Asterisk's rewrite_contact) writes our connection's far end into our
        // Record-Route: our signature still tells it.
        if (!uri || (!is_us(uri) && !decode_route_token(view(uri->user), settings_.token_key))) break;
        ++count;
    }
    return count;
}

// Ours, as the side that `listener` faces shall name us.
std::string Engine::own_uri(const Listener& listener, const std::string& user, bool secure) const {
    const auto& bound = listener.bound;
    const bool tls = bound.transport == "tls";
    const bool v6 = bound.host.find(':') != std::string::npos;
    const auto& name = settings_.cluster_host.empty() ? settings_.public_host : settings_.cluster_host;
    const bool other_family = is_ip(name) && v6 != (name.find(':') != std::string::npos);
    const bool any = bound.host == "0.0.0.0" || bound.host == "::";
    const auto& host = other_family && !any ? bound.host : name;
    std::string out = secure && tls ? "<sips:" : "<sip:";
    out += user + "@" + bracketed(host) + ":" + std::to_string(bound.port);
    if (bound.transport != "udp" && !(secure && tls)) out += ";transport=" + bound.transport;
    return out + ";lr>";
}

// One for each side when they differ (RFC 5658): each side then comes back by the transport it has.
std::vector<std::string> Engine::record_route(const ServerTxn& txn, const Rewrite& rewrite,
                                              const Listener& outward) const {
    RouteToken token;
    token.route_key = from_hex(rewrite.route_key).value_or("");
    token.call = pack_uuid(rewrite.call);
    if (token.route_key.size() != 8) throw std::invalid_argument("not a route key: '" + rewrite.route_key + "'");
    if (!rewrite.call.empty() && token.call.size() != 16)
        throw std::invalid_argument("not a call UUID: '" + rewrite.call + "'");
    token.device_is_caller = rewrite.device_is_caller;
    token.device = rewrite.device_is_caller ? txn.source : rewrite.destination;
    token.peer = rewrite.device_is_caller ? rewrite.destination : peer_of(txn);
    token.caller_tag = short_hash(txn.from_tag);
    token.next_hop = rewrite.device_is_caller ? 0 : txn.next_hop;
    return own_records(txn, outward, token);
}

std::vector<std::string> Engine::own_records(const ServerTxn& txn, const Listener& outward,
                                             const RouteToken& token) const {
    const auto user = encode_route_token(token, settings_.token_key);
    const bool secure = PJSIP_URI_SCHEME_IS_SIPS(txn.msg->line.req.uri);  // RFC 3261 16.6 step 4
    std::vector<std::string> values{own_uri(outward, user, secure)};
    if (txn.listener != &outward) values.push_back(own_uri(*txn.listener, user, secure));
    return values;
}

// Where requests to the PBX's side can go: a connection that it has opened is for its own only (RFC 5923).
Address Engine::peer_of(const ServerTxn& txn) const {
    if (txn.source.transport == "udp") return txn.source;
    const auto* stream = txn.tsx && txn.tsx->transport ? as_stream(txn.tsx->transport) : nullptr;
    if (stream && stream->outgoing) return stream->remote;
    return listening_at(static_cast<pjsip_via_hdr*>(pjsip_msg_find_hdr(txn.msg, PJSIP_H_VIA, nullptr)));
}

// A strict router before us (RFC 2543) has put our Record-Route into the Request-URI and what was there into
// the last Route. Undone here, so that everything after this knows one form only (RFC 3261 16.4).
void Engine::undo_strict_route(pjsip_rx_data* rdata) const {
    auto* msg = rdata->msg_info.msg;
    const auto* target = sip_uri(msg->line.req.uri);
    if (!target || !decode_route_token(view(target->user), settings_.token_key)) return;
    std::size_t routes = 0;
    while (route_header(msg, routes)) ++routes;
    if (routes == 0) return;
    auto* first = const_cast<pjsip_routing_hdr*>(route_header(msg, 0));
    auto* last = const_cast<pjsip_routing_hdr*>(route_header(msg, routes - 1));
    auto* ours = pjsip_route_hdr_create(rdata->tp_info.pool);
    ours->name_addr.uri = msg->line.req.uri;
    pj_list_insert_before(first, ours);
    msg->line.req.uri = static_cast<pjsip_uri*>(pjsip_uri_get_uri(&last->name_addr));
    pj_list_erase(last);
    rdata->msg_info.route = ours;
}

// How the dialog has passed through this service, by the Routes that carry tokens of ours for one device:
// once, or at two nodes. Those before the first one must be ours as well. With another device's token a pass
// of its own begins: it comes back to us.
std::vector<Engine::Pass> Engine::passes(const pjsip_msg* msg) const {
    std::vector<Pass> found;
    const auto own = leading_own_routes(msg);
    std::string_view last;
    for (std::size_t index = 0; index < own; ++index) {
        const auto user = view(sip_uri(&route_header(msg, index)->name_addr)->user);
        if (!found.empty() && user == last) {  // the other one of the same pair (RFC 5658)
            found.back().end = index + 1;
            continue;
        }
        auto token = decode_route_token(user, settings_.token_key);
        if (!token && found.empty()) continue;
        if (!token) break;
        if (!found.empty()) {
            const auto& first = found.front().token;
            if (token->route_key != first.route_key || token->device_is_caller != first.device_is_caller ||
                token->caller_tag != first.caller_tag)
                break;
        }
        found.push_back({std::move(*token), index + 1});
        last = user;
    }
    return found;
}

// Back by the node that the request which made the dialog came from, as long as it lives; we take the place
// of one that does not.
Engine::Hop Engine::hop_from_device(Route& found, const std::vector<Pass>& passed, const pjsip_rx_data* rdata) {
    auto& listener = listener_of(rdata);
    for (std::size_t i = 0; i + 1 < passed.size(); ++i) {
        const auto node = live_node(passed[i].token.peer);
        if (!node || is_own(*node)) continue;
        found.token = passed[i].token;
        found.routes_to_pop = passed[i].end;
        auto hop = hop_to_peer(*node, listener, {}, {});
        hop.to_node = true;
        return hop;
    }
    found.token = passed.back().token;
    found.routes_to_pop = passed.back().end;
    return hop_to_known_peer(hop_toward_peer(found.token, rdata->msg_info.msg, found.routes_to_pop), listener);
}

std::optional<Engine::Route> Engine::route(pjsip_rx_data* rdata) {
    const auto passed = passes(rdata->msg_info.msg);
    if (passed.empty()) return std::nullopt;
    const auto& token = passed.front().token;
    const bool from_caller = short_hash(view(rdata->msg_info.from->tag)) == token.caller_tag;
    const bool from_callee = short_hash(view(rdata->msg_info.to->tag)) == token.caller_tag;
    if (!from_caller && !from_callee) return std::nullopt;  // a token of another dialog
    Route found{token, from_caller == token.device_is_caller, {}, passed.back().end};
    if (found.from_device) {
        found.hop = hop_from_device(found, passed, rdata);
        return found;
    }
    const auto bound = bindings_.find(token.route_key);
    // From the socket that the device registered at: a NAT lets nothing else through.
    found.hop = bound != bindings_.end() ? hop_of(bound->second) : hop_to_device(token.device, listener_of(rdata));
    if (const auto moved = answered_at_.find(token.route_key); !found.hop.transport && moved != answered_at_.end())
        found.hop = hop_to_device(moved->second.first, *moved->second.second);
    return found;
}

// Where a request from the device goes: the next hop it names, if that is the one the PBX gave when
// the dialog began or lies at the PBX's address; else to the PBX. Never anywhere else: no open relay.
Address Engine::hop_toward_peer(const RouteToken& token, const pjsip_msg* msg, std::size_t routes_to_pop) const {
    const auto* route = route_header(msg, routes_to_pop);
    const auto* next = route ? sip_uri(&route->name_addr) : sip_uri(msg->line.req.uri);
    if (!next) return token.peer;
    const auto host = copy(next->host);
    const bool vouched = token.next_hop != 0 && short_hash(hop_name(next)) == token.next_hop;
    if (!is_ip(host) || (!vouched && host != token.peer.host)) return token.peer;
    auto transport = named_transport(next);
    // Many a PBX does not name its transport in Contact, and means the one that it uses.
    if (transport.empty()) transport = token.peer.transport;
    if (transport != "udp" && transport != "tcp" && transport != "tls") return token.peer;
    return {host, next->port ? next->port : default_port(transport), transport};
}

// When it is a call of ours.
void Engine::tell_dialog_ended(const pjsip_msg* bye, const RouteToken& token, bool by_device) {
    Fact fact = make_fact(FactKind::dialog_ended);
    fact.text = unpack_uuid(token.call);
    fact.name = header_value(bye, "Reason");
    fact.flag = by_device;
    if (!fact.text.empty()) facts_.push(std::move(fact));
}

// The node that a device's request went to cannot be reached, whatever was said of it: we take its place.
bool Engine::past_dead_node(const Branch& branch) {
    auto& txn = branch.txn;
    if (txn.final_sent || !txn.msg || !txn.tsx || txn.cancelled) return false;
    const auto passed = passes(txn.msg);
    if (passed.size() < 2) return false;
    const auto& [token, end] = passed.back();
    ForwardPlan plan;
    plan.routes_to_pop = end;
    plan.remove = &kNotFromApps;
    if (txn.msg->line.req.method.id == PJSIP_BYE_METHOD) tell_dialog_ended(txn.msg, token, true);
    send_branch(txn, branch.id + 1, true, plan, hop_to_known_peer(hop_toward_peer(token, txn.msg, end), *txn.listener));
    return true;
}

void Engine::on_in_dialog(pjsip_rx_data* rdata) {
    undo_strict_route(rdata);
    const auto* msg = rdata->msg_info.msg;
    const bool ack = msg->line.req.method.id == PJSIP_ACK_METHOD;
    const auto routed = route(rdata);
    if (!routed) {
        if (!ack) count("rejected.", "no_dialog");
        return answer_stateless(rdata, 481, "Call/Transaction Does Not Exist");
    }
    if (!may_travel(rdata)) return;
    // A node before us has told what it heard of its device.
    const bool by_node = verify_branch(view(rdata->msg_info.via->branch_param), settings_.token_key).has_value();
    if (routed->from_device && !by_node && !facts_.full()) {
        Fact fact = make_fact(FactKind::device_heard);
        fact.name = to_hex(routed->token.route_key);
        fact.source = source_of(rdata);
        facts_.push(std::move(fact));
    }
    ForwardPlan plan;
    plan.routes_to_pop = routed->routes_to_pop;
    if (routed->from_device) plan.remove = &kNotFromApps;
    if (ack) {
        // RFC 3261 16.11: an ACK of a 2xx is its own transaction, and has no response.
        plan.branch = make_branch(loop_hash(rdata), upstream_of(rdata->msg_info.via).text(), settings_.token_key);
        plan.to_node = !routed->hop.through.empty();
        auto message = forward_request(endpoint_, msg, raw_body(rdata), plan);
        if (routed->hop.transport || routed->from_device) return send_stateless(message, routed->hop);
        return keep_ack(routed->token.route_key, dialog_of(rdata) + "|" + std::to_string(rdata->msg_info.cseq->cseq),
                        std::move(message));
    }
    const bool bye = msg->line.req.method.id == PJSIP_BYE_METHOD;
    if (bye) dialog_over(routed->token.route_key, dialog_of(rdata));
    auto* txn = open_server(rdata);
    if (!txn) return;
    txn->from_device = routed->from_device && !by_node;
    txn->by_node = by_node && nodes_;
    if (bye) tell_dialog_ended(msg, routed->token, routed->from_device);
    if (routed->from_device) return send_branch(*txn, 0, true, plan, routed->hop);
    follow(*txn,
           {.route_key = routed->token.route_key,
            .call = unpack_uuid(routed->token.call),
            .dialog = dialog_of(rdata),
            .routes_to_pop = plan.routes_to_pop},
           routed->hop);
}

}  // namespace push_proxy
