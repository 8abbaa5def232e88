// Where copies for the recorder of calls are taken: see MessageCapture.
#pragma once

#include "message_capture.hpp"
#include "pj.hpp"

namespace push_proxy {

// Puts the capture between pjsip's transports and all other modules, while it lives. One at a time:
// pjsip's callbacks carry no user data.
//
// It sees every message that parses. Left out are OPTIONS, and REGISTER requests of our own with
// their responses: keep-alives and the accounts' registrations at their PBXs belong to no call.
class CaptureTap {
   public:
    CaptureTap(pjsip_endpoint* endpoint, MessageCapture& capture);
    ~CaptureTap();
    CaptureTap(const CaptureTap&) = delete;
    CaptureTap& operator=(const CaptureTap&) = delete;

   private:
    pjsip_endpoint* endpoint_;
};

}  // namespace push_proxy
