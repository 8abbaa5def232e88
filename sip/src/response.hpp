// What is read of a response.
#pragma once

#include <string>

#include "message.hpp"

namespace push_proxy {

inline std::string to_tag(const pjsip_rx_data* rdata) { return copy(rdata->msg_info.to->tag); }

inline std::string to_tag(const TxData& response) {
    return copy(static_cast<pjsip_to_hdr*>(pjsip_msg_find_hdr(response->msg, PJSIP_H_TO, nullptr))->tag);
}

inline int status_of(const TxData& response) { return response->msg->line.status.code; }

// `2xx`, as metrics count.
inline std::string status_class(int code) { return std::to_string(code / 100) + "xx"; }

}  // namespace push_proxy
