#include "nodes.hpp"

#include <chrono>

#include "check.hpp"

namespace nodes {
namespace {

const std::string kFromTag = "caller";

std::string user_of(const std::string& route) {
    const auto at = route.find("sip:") + 4;
    return route.substr(at, route.find('@') - at);
}

// "1 INVITE" -> "1"
std::string number(const std::string& cseq) { return cseq.substr(0, cseq.find(' ')); }

std::string value(const Draft& draft, std::string_view name) {
    for (const auto& [key, found] : draft.headers)
        if (key == name) return found;
    return "";
}

std::string request_name(const std::string& call_id, const std::string& from, const std::string& cseq) {
    return call_id + "|" + wire::param(from, "tag") + "|" + number(cseq);
}

std::string route_key() { return *push_proxy::from_hex(station::kRoute); }

std::string record_of(const push_proxy::RouteToken& token, const std::string& host_port) {
    return "<sip:" + push_proxy::encode_route_token(token, station::kKey) + "@" + host_port + ";lr>";
}

std::string call_bytes() {
    auto digits = station::kCall;
    std::erase(digits, '-');
    return *push_proxy::from_hex(digits);
}

}  // namespace

push_proxy::Settings cluster() {
    auto made = station::settings();
    made.cluster_keys = {kClusterKey, kOldClusterKey};
    return made;
}

std::int64_t seconds() {
    using std::chrono::system_clock;
    return std::chrono::duration_cast<std::chrono::seconds>(system_clock::now().time_since_epoch()).count();
}

std::string read(const Message& request) {
    const auto name = request_name(request.first("Call-ID"), request.first("From"), request.first("CSeq"));
    const auto key = push_proxy::read_node_token(user_of(request.first("Route")), name, seconds(), {kClusterKey});
    if (!key) throw check::Failure("no node token on top of: " + request.text);
    return push_proxy::to_hex(*key);
}

std::optional<push_proxy::RouteToken> token_in(const std::string& record) {
    return push_proxy::decode_route_token(user_of(record), station::kKey);
}

Message through(Call& call, const Agent& node, int branch) {
    auto rewrite = call.rewrite(call.phone);
    rewrite.through = node.address();
    return call.fork_to(node, branch, &rewrite);
}

std::string records_of_edge(const Call& call, const Agent& edge) {
    push_proxy::RouteToken token;
    token.route_key = route_key();
    token.device = call.phone.address();
    token.peer = call.station.at();
    token.caller_tag = push_proxy::short_hash(wire::param(value(call.invite, "From"), "tag"));
    return record_of(token, edge.host_port());
}

Edge::Edge(Station& at) : station(at) {}

Draft Edge::request(const std::string& method, int cseq, const std::string& to_tag) const {
    auto draft = wire::request(method, "sip:101@phone.example.com", pbx);
    draft.headers.insert(draft.headers.begin(),
                         {"Via", "SIP/2.0/UDP " + node.host_port() + ";rport;branch=" +
                                     push_proxy::make_branch(1, pbx.address().text(), station::kKey)});
    draft.set("Max-Forwards", "69").set("Call-ID", call_id);
    draft.set("From", "<sip:200@pbx.example.com>;tag=" + kFromTag);
    draft.set("CSeq", std::to_string(cseq) + " " + method);
    if (!to_tag.empty()) draft.set("To", "<sip:101@pbx.example.com>;tag=" + to_tag);
    if (to_tag.empty() && method == "INVITE") draft.add("Record-Route", record());
    return led(draft, seconds(), kClusterKey);
}

Draft Edge::led(Draft draft, std::int64_t issued, const std::string& key) const {
    const auto name = request_name(value(draft, "Call-ID"), value(draft, "From"), value(draft, "CSeq"));
    const auto token = push_proxy::make_node_token(route_key(), name, issued, key);
    // A request with a branch of its own.
    draft.headers.front().second = "SIP/2.0/UDP " + node.host_port() +
                                   ";rport;branch=" + push_proxy::make_branch(1, pbx.address().text(), station::kKey);
    return draft.set("Route", "<sip:" + token + "@127.0.0.1:" + std::to_string(station.at().port) + ";lr>");
}

Draft Edge::from_phone(const std::string& method, int cseq, const std::vector<std::string>& records) const {
    auto draft = wire::request(method, "sip:200@" + pbx.host_port(), phone);
    draft.set("From", "<sip:101@pbx.example.com>;tag=p").set("Call-ID", call_id);
    draft.set("To", "<sip:200@pbx.example.com>;tag=" + kFromTag);
    draft.set("CSeq", std::to_string(cseq) + " " + method);
    for (const auto& record : records) draft.add("Route", record);
    return draft;
}

std::string Edge::record() const {
    push_proxy::RouteToken token;
    token.route_key = route_key();
    token.device = phone.address();
    token.peer = pbx.address();
    token.caller_tag = push_proxy::short_hash(kFromTag);
    token.call = call_bytes();
    return record_of(token, node.host_port());
}

std::string Edge::record_at_edge(const Station& edge, int more) const {
    push_proxy::RouteToken token;
    token.route_key = route_key();
    token.device = phone.address();
    token.peer = node.address();
    token.caller_tag = push_proxy::short_hash(kFromTag);
    return record_of(token, "127.0.0.1:" + std::to_string(edge.at().port + more));
}

}  // namespace nodes
