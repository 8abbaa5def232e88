// What the recorder of calls uses: plain values, and each call's messages as one text.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>

#include "binding_capture.hpp"
#include "captured_calls.hpp"
#include "stack.hpp"

namespace nb = nanobind;

namespace push_proxy {
namespace {

nb::str text(const std::string& value) {
    return nb::steal<nb::str>(PyUnicode_DecodeUTF8(value.data(), static_cast<Py_ssize_t>(value.size()), "replace"));
}

nb::bytes bytes(const std::string& value) { return nb::bytes(value.data(), value.size()); }

// As Python has the Call-ID of the call: SIP is UTF-8 by rule and anything in practice.
void make_readable(SharedMessage& message) {
    const auto is_plain = [](char c) { return static_cast<unsigned char>(c) < 0x80; };
    const auto& call_id = message->call_id;
    if (std::all_of(call_id.begin(), call_id.end(), is_plain)) return;
    auto made = std::make_shared<CapturedMessage>(*message);
    made->call_id = text(call_id).c_str();
    message = std::move(made);
}

std::string string_of(const nb::bytes& value) { return std::string(value.c_str(), value.size()); }

nb::object described(const CapturedMessage& each) {
    return nb::make_tuple(each.at, each.sent, each.device_register, each.peer.transport, each.peer.host, each.peer.port,
                          each.local.host, each.local.port, text(each.call_id), bytes(each.raw));
}

}  // namespace

void bind_capture(nb::module_& m) {
    m.def("pull_captured", [](Stack& stack, CapturedCalls& into, double now) {
        auto batch = stack.take_captured();
        for (auto& each : batch.messages) make_readable(each);
        const auto lost = batch.lost;
        into.take(std::move(batch), now);
        return lost;
    });

    nb::class_<CapturedCalls>(m, "CapturedCalls")
        .def(nb::init<>())
        .def("take",
             [](CapturedCalls& calls, const nb::list& messages, std::uint64_t lost, double now) {
                 CaptureBatch batch;
                 batch.lost = lost;
                 for (const auto& each : messages) {
                     const auto part = nb::cast<nb::tuple>(each);
                     auto made = std::make_shared<CapturedMessage>();
                     auto& message = *made;
                     message.at = nb::cast<double>(part[0]);
                     message.sent = nb::cast<bool>(part[1]);
                     message.device_register = nb::cast<bool>(part[2]);
                     const auto transport = nb::cast<std::string>(part[3]);
                     message.peer = {nb::cast<std::string>(part[4]), nb::cast<int>(part[5]), transport};
                     message.local = {nb::cast<std::string>(part[6]), nb::cast<int>(part[7]), transport};
                     message.call_id = nb::cast<std::string>(part[8]);
                     message.raw = string_of(nb::cast<nb::bytes>(part[9]));
                     batch.messages.push_back(std::move(made));
                 }
                 calls.take(std::move(batch), now);
             })
        .def("open",
             [](CapturedCalls& calls, std::string call, std::string sip_call_id, std::string tenant, double since,
                std::size_t messages, std::size_t most_bytes) {
                 calls.open(std::move(call), std::move(sip_call_id), std::move(tenant), since, {messages, most_bytes});
             })
        .def("forget", &CapturedCalls::forget)
        .def("link", &CapturedCalls::link)
        .def("met",
             [](CapturedCalls& calls) {
                 nb::list found;
                 for (const auto& each : calls.met())
                     found.append(nb::make_tuple(each.call, each.hop, each.peer.transport, each.peer.host,
                                                 each.peer.port, each.first, each.sent));
                 return found;
             })
        .def("name", &CapturedCalls::name)
        .def("text",
             [](CapturedCalls& calls, const std::string& call, bool emptied) -> nb::object {
                 const auto found = calls.text(call, emptied);
                 return found ? nb::object(bytes(*found)) : nb::none();
             })
        .def("seen", &CapturedCalls::seen)
        .def("size", nb::overload_cast<const std::string&>(&CapturedCalls::size, nb::const_))
        .def("total", nb::overload_cast<>(&CapturedCalls::size, nb::const_))
        .def("unclaimed", &CapturedCalls::unclaimed)
        .def("links", &CapturedCalls::links)
        .def("give_out", &CapturedCalls::give_out)
        .def("given_out",
             [](CapturedCalls& calls) {
                 nb::list found;
                 for (const auto& each : calls.given_out()) found.append(described(*each));
                 return found;
             })
        .def("clear", &CapturedCalls::clear);
}

}  // namespace push_proxy
