// The Python module: values in and out, nothing of pjsip. The GIL is released wherever we wait.
#include <nanobind/nanobind.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "binding_capture.hpp"
#include "masking.hpp"
#include "stack.hpp"

namespace nb = nanobind;
using namespace push_proxy;

namespace {

// SIP is UTF-8 by rule and anything in practice; a fact must never fail to arrive.
nb::str text(const std::string& value) {
    return nb::steal<nb::str>(PyUnicode_DecodeUTF8(value.data(), static_cast<Py_ssize_t>(value.size()), "replace"));
}

template <auto Member>
nb::str text_of(const Fact& fact) {
    return text(fact.*Member);
}

Rewrite rewrite(std::string request_uri, const Address& destination, const Address& local, Headers add,
                std::vector<std::string> remove, std::string call, std::string route_key, bool device_is_caller,
                bool connect, std::string server_name, std::string tls_profile, std::optional<Address> through,
                std::string branch_seed) {
    return {std::move(request_uri),
            destination,
            local,
            std::move(add),
            std::move(remove),
            std::move(call),
            std::move(route_key),
            device_is_caller,
            connect,
            std::move(server_name),
            std::move(tls_profile),
            std::move(through),
            std::move(branch_seed)};
}

std::string string_of(const nb::bytes& bytes) { return {bytes.c_str(), bytes.size()}; }

}  // namespace

NB_MODULE(_stack, m) {
    // The service ends by SystemExit, whose frames keep the stack alive to the very end: nothing that
    // an operator should read about at every stop.
    nb::set_leak_warnings(false);

    // What native.py has been written for: see there.
    m.attr("interface_version") = 3;
    m.doc() = "SIP stack on pjsip: facts out, orders in. Used by push_proxy.signaling.native only.";

    nb::class_<Address>(m, "Address")
        .def(nb::init<std::string, int, std::string>(), nb::arg("host"), nb::arg("port"), nb::arg("transport"))
        .def_ro("host", &Address::host)
        .def_ro("port", &Address::port)
        .def_ro("transport", &Address::transport);

    nb::enum_<FactKind>(m, "FactKind", nb::is_arithmetic())
        .value("REQUEST", FactKind::request)
        .value("CANCEL", FactKind::cancel)
        .value("TRANSACTION_LOST", FactKind::transaction_lost)
        .value("BRANCH_RESPONSE", FactKind::branch_response)
        .value("FORWARD_RESPONSE", FactKind::forward_response)
        .value("FORWARD_RINGING", FactKind::forward_ringing)
        .value("REQUEST_ANSWERED", FactKind::request_answered)
        .value("DIALOG_ENDED", FactKind::dialog_ended)
        .value("DEVICE_HEARD", FactKind::device_heard)
        .value("DEVICE_AWAITED", FactKind::device_awaited)
        .value("FLOW_LOST", FactKind::flow_lost)
        .value("ORDER_FAILED", FactKind::order_failed)
        .value("LOG", FactKind::log)
        .value("FORMER_ANSWERED", FactKind::former_answered);

    nb::class_<Fact>(m, "Fact")
        .def_prop_ro("kind", [](const Fact& fact) { return static_cast<int>(fact.kind); })
        .def_ro("txn", &Fact::txn)
        .def_ro("branch", &Fact::branch)
        .def_ro("response", &Fact::response)
        .def_ro("status", &Fact::status)
        .def_ro("flag", &Fact::flag)
        .def_ro("cseq", &Fact::cseq)
        .def_ro("source", &Fact::source)
        .def_ro("local", &Fact::local)
        .def_prop_ro("text", &text_of<&Fact::text>)
        .def_prop_ro("name", &text_of<&Fact::name>)
        .def_prop_ro("request_uri", &text_of<&Fact::request_uri>)
        .def_prop_ro("from_uri", &text_of<&Fact::from_uri>)
        .def_prop_ro("from_tag", &text_of<&Fact::from_tag>)
        .def_prop_ro("to_uri", &text_of<&Fact::to_uri>)
        .def_prop_ro("to_tag", &text_of<&Fact::to_tag>)
        .def_prop_ro("call_id", &text_of<&Fact::call_id>)
        .def_prop_ro("restored", &text_of<&Fact::restored>)
        .def_prop_ro("peer_names",
                     [](const Fact& fact) {
                         nb::list names;
                         for (const auto& name : fact.peer_names) names.append(text(name));
                         return nb::tuple(names);
                     })
        .def_prop_ro("raw", [](const Fact& fact) { return nb::bytes(fact.raw.data(), fact.raw.size()); });

    nb::class_<TlsFiles>(m, "TlsFiles")
        .def(
            "__init__",
            [](TlsFiles* made, std::string certificate, std::string key, std::string ca, bool verify) {
                new (made) TlsFiles{std::move(certificate), std::move(key), std::move(ca), verify};
            },
            nb::arg("certificate"), nb::arg("key"), nb::arg("ca"), nb::arg("verify"));

    m.def("mask", [](const nb::bytes& message) {
        auto copy = string_of(message);
        mask_secrets(copy);
        return nb::bytes(copy.data(), copy.size());
    });

    nb::class_<Stack>(m, "Stack")
        .def(nb::init<>())
        .def(
            "start",
            [](Stack& stack, std::vector<Address> listen, std::string public_host, std::vector<std::string> own_hosts,
               const nb::bytes& token_key, std::size_t queue_limit, std::optional<TlsFiles> tls,
               std::map<std::string, TlsFiles> tls_clients, bool closed, const std::vector<nb::bytes>& cluster_keys,
               std::string cluster_host) {
                Settings settings;
                settings.listen = std::move(listen);
                settings.public_host = std::move(public_host);
                settings.own_hosts = std::move(own_hosts);
                settings.token_key = string_of(token_key);
                settings.queue_limit = queue_limit;
                settings.closed = closed;
                for (const auto& key : cluster_keys) settings.cluster_keys.push_back(string_of(key));
                settings.cluster_host = std::move(cluster_host);
                settings.tls = std::move(tls);
                settings.tls_clients = std::move(tls_clients);
                nb::gil_scoped_release release;
                return stack.start(settings);
            },
            nb::arg("listen"), nb::arg("public_host"), nb::arg("own_hosts"), nb::arg("token_key"),
            nb::arg("queue_limit"), nb::arg("tls").none(), nb::arg("tls_clients"), nb::arg("closed"),
            nb::arg("cluster_keys"), nb::arg("cluster_host"))
        .def("renew_tls", &Stack::renew_tls, nb::arg("tls").none(), nb::arg("tls_clients"),
             nb::call_guard<nb::gil_scoped_release>())
        .def("stop", &Stack::stop, nb::call_guard<nb::gil_scoped_release>())
        .def("fileno", &Stack::fd)
        .def("drain", &Stack::drain)
        .def("counters", &Stack::counters)
        .def("capture", &Stack::capture)
        .def("stop_capture", &Stack::stop_capture)
        .def("reply",
             [](Stack& stack, std::uint64_t txn, int status, std::string reason, Headers headers,
                const nb::bytes& body) {
                 stack.order(ReplyOrder{txn, status, std::move(reason), std::move(headers), string_of(body)});
             })
        .def("fork",
             [](Stack& stack, std::uint64_t txn, int branch, std::string request_uri, const Address& destination,
                const Address& local, Headers add, std::vector<std::string> remove, std::string call,
                std::string route_key, bool device_is_caller, bool connect, std::string server_name,
                std::string tls_profile, std::optional<Address> through, std::string branch_seed) {
                 stack.order(ForkOrder{
                     txn, branch,
                     rewrite(std::move(request_uri), destination, local, std::move(add), std::move(remove),
                             std::move(call), std::move(route_key), device_is_caller, connect, std::move(server_name),
                             std::move(tls_profile), std::move(through), std::move(branch_seed))});
             })
        .def("forward",
             [](Stack& stack, std::uint64_t txn, std::string request_uri, const Address& destination,
                const Address& local, Headers add, std::vector<std::string> remove, std::string call,
                std::string route_key, bool device_is_caller, bool connect, std::string server_name,
                std::string tls_profile, std::optional<Address> through, std::string branch_seed) {
                 stack.order(ForwardOrder{
                     txn,
                     rewrite(std::move(request_uri), destination, local, std::move(add), std::move(remove),
                             std::move(call), std::move(route_key), device_is_caller, connect, std::move(server_name),
                             std::move(tls_profile), std::move(through), std::move(branch_seed))});
             })
        .def("relay",
             [](Stack& stack, std::uint64_t txn, int branch, std::uint64_t response) {
                 stack.order(RelayOrder{txn, branch, response});
             })
        .def("cancel",
             [](Stack& stack, std::uint64_t txn, int branch, std::string reason) {
                 stack.order(CancelOrder{txn, branch, std::move(reason)});
             })
        .def("ack_and_bye",
             [](Stack& stack, std::uint64_t txn, int branch, std::uint64_t response) {
                 stack.order(AckAndByeOrder{txn, branch, response});
             })
        .def("request",
             [](Stack& stack, std::uint64_t request, std::string method, std::string request_uri, std::string from,
                std::string to, std::string call_id, int cseq, Headers headers, const nb::bytes& body,
                const Address& destination, const Address& local, bool connect, std::string server_name,
                std::string tls_profile, std::optional<std::string> over, std::optional<Address> through,
                std::string route_key) {
                 stack.order(RequestOrder{request, std::move(method), std::move(request_uri), std::move(from),
                                          std::move(to), std::move(call_id), cseq, std::move(headers), string_of(body),
                                          destination, local, connect, std::move(server_name), std::move(tls_profile),
                                          std::move(over), std::move(through), std::move(route_key)});
             })
        .def("bind",
             [](Stack& stack, std::string route_key, const Address& source, const Address& local) {
                 stack.order(BindOrder{std::move(route_key), source, local});
             })
        .def("bind_through",
             [](Stack& stack, std::string route_key, const Address& node) {
                 stack.order(BindThroughOrder{std::move(route_key), node});
             })
        .def("open", [](Stack& stack) { stack.order(OpenOrder{}); })
        .def("restore",
             [](Stack& stack, std::string call, const nb::bytes& raw, const Address& source, const Address& local,
                std::string to_tag, std::string server_name, std::string tls_profile) {
                 stack.order(RestoreOrder{std::move(call), string_of(raw), source, local, std::move(to_tag),
                                          std::move(server_name), std::move(tls_profile)});
             })
        .def("drain_node", [](Stack& stack, bool on) { stack.order(DrainOrder{on}); })
        .def("peers", [](Stack& stack, std::vector<Address> nodes) { stack.order(PeersOrder{std::move(nodes)}); })
        .def("unbind", [](Stack& stack, std::string route_key) { stack.order(UnbindOrder{std::move(route_key)}); });

    bind_capture(m);
}
