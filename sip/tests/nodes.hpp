// What tests of two nodes share: the neighbour as it appears on the wire.
#pragma once

#include "station.hpp"
#include "token.hpp"

namespace nodes {

using station::Agent;
using station::Call;
using station::Draft;
using station::Message;
using station::Station;

inline const std::string kClusterKey(32, 'c');
inline const std::string kOldClusterKey(32, 'd');

push_proxy::Settings cluster();
std::int64_t seconds();
// The device that the topmost Route of a request between nodes names, as hexadecimal; fails the test when the
// token does not verify.
std::string read(const Message& request);
std::optional<push_proxy::RouteToken> token_in(const std::string& record);
// The call's INVITE goes to its phone by way of that node; returns it as it came there.
Message through(Call& call, const Agent& node, int branch = 1);
// The Record-Route of a node that is the edge of this call.
std::string records_of_edge(const Call& call, const Agent& edge);

// This stack is the edge: `node` has had an INVITE from `pbx` for the device of kRoute, whose flow is here.
struct Edge {
    explicit Edge(Station& at);

    // A request that `node` passes on, with a token of this moment; in the dialog when there is a To tag.
    Draft request(const std::string& method, int cseq, const std::string& to_tag = "") const;
    // The same with another token on top.
    Draft led(Draft draft, std::int64_t issued, const std::string& key) const;
    // From the phone, inside the dialog whose records it saw.
    Draft from_phone(const std::string& method, int cseq, const std::vector<std::string>& records) const;
    // The Record-Route of `node`, as in its INVITE, and what this stack adds to it (another port: another node's).
    std::string record() const;
    std::string record_at_edge(const Station& edge, int more = 0) const;

    Station& station;
    Agent node{"127.0.0.2"};
    Agent pbx;
    Agent phone;
    std::string call_id = wire::unique("edge");
};

}  // namespace nodes
