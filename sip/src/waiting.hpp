// Requests inside dialogs that follow their device: see waiting.cpp and docs/adr/0010.
#pragma once

#include <cstdint>
#include <string>

#include "message.hpp"
#include "pj.hpp"

namespace push_proxy {

// What a server transaction remembers of an in-dialog request toward a device, until its final response.
struct TowardDevice {
    std::string route_key;
    std::string call;    // our call UUID, or empty
    std::string dialog;  // as `dialog_of` names it
    std::size_t routes_to_pop = 0;
    int sent = 0;          // so many branches; the last one counts
    int flows = 0;         // so many addresses of the device
    bool waiting = false;  // for a flow
    bool edge = false;     // for another node, which does the waiting
    pj_timer_entry timer{};
};

// An ACK of a 2xx that came while its device had no flow.
struct KeptAck {
    std::string route_key;
    std::string name;  // its dialog and CSeq: repeated, it is kept once
    TxData message;
    std::int64_t until_ms;  // on the monotonic clock
};

// The same for both directions.
std::string dialog_of(const pjsip_rx_data* rdata);

}  // namespace push_proxy
