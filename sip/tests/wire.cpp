#include "wire.hpp"

#include <algorithm>
#include <atomic>

namespace wire {
namespace {

bool same_name(std::string_view a, std::string_view b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                      [](unsigned char x, unsigned char y) { return std::tolower(x) == std::tolower(y); });
}

}  // namespace

std::string Message::start() const { return text.substr(0, text.find("\r\n")); }

int Message::status() const { return text.starts_with("SIP/2.0 ") ? std::stoi(text.substr(8, 3)) : 0; }

std::vector<std::string> Message::all(std::string_view name) const {
    std::vector<std::string> values;
    const auto end = text.find("\r\n\r\n");
    for (auto at = text.find("\r\n"); at < end;) {
        const auto next = text.find("\r\n", at + 2);
        const auto line = text.substr(at + 2, next - at - 2);
        const auto colon = line.find(':');
        if (colon != std::string::npos && same_name(line.substr(0, colon), name)) {
            const auto value = line.find_first_not_of(' ', colon + 1);
            values.push_back(value == std::string::npos ? "" : line.substr(value));
        }
        at = next;
    }
    return values;
}

std::string Message::first(std::string_view name) const {
    const auto values = all(name);
    return values.empty() ? "" : values.front();
}

std::string Message::body() const {
    const auto end = text.find("\r\n\r\n");
    return end == std::string::npos ? "" : text.substr(end + 4);
}

std::string Message::branch() const { return param(first("Via"), "branch"); }

std::string param(std::string_view value, std::string_view name) {
    const auto at = value.find(";" + std::string(name));
    if (at == std::string_view::npos) return "";
    auto rest = value.substr(at + 1 + name.size());
    if (!rest.starts_with('=')) return "";
    rest.remove_prefix(1);
    return std::string(rest.substr(0, rest.find_first_of(";>, ")));
}

Draft& Draft::set(std::string_view name, std::string value) {
    bool found = false;
    for (auto& [key, old] : headers) {
        if (!same_name(key, name) || found) continue;
        old = value;
        found = true;
    }
    if (!found) headers.emplace_back(name, std::move(value));
    return *this;
}

Draft& Draft::add(std::string_view name, std::string value) {
    headers.emplace_back(name, std::move(value));
    return *this;
}

Draft& Draft::drop(std::string_view name) {
    std::erase_if(headers, [&](const auto& header) { return same_name(header.first, name); });
    return *this;
}

Draft& Draft::with(std::string content_type, std::string content) {
    set("Content-Type", std::move(content_type));
    body = std::move(content);
    return *this;
}

std::string Draft::text() const {
    std::string out = start + "\r\n";
    bool length = false;
    for (const auto& [name, value] : headers) {
        out += name + ": " + value + "\r\n";
        length = length || same_name(name, "Content-Length");
    }
    if (!length) out += "Content-Length: " + std::to_string(body.size()) + "\r\n";
    return out + "\r\n" + body;
}

std::string unique(std::string_view prefix) {
    static std::atomic<int> next{1};
    return std::string(prefix) + std::to_string(next++);
}

Draft request(const std::string& method, const std::string& uri, const Agent& from) {
    Draft draft;
    draft.start = method + " " + uri + " SIP/2.0";
    draft.headers = {
        {"Via", "SIP/2.0/UDP " + from.host_port() + ";rport;branch=z9hG4bK" + unique("b")},
        {"Max-Forwards", "70"},
        {"From", "<sip:200@pbx.example.com>;tag=" + unique("f")},
        {"To", "<sip:101@pbx.example.com>"},
        {"Call-ID", unique("call") + "@test"},
        {"CSeq", "1 " + method},
        {"Contact", "<sip:200@" + from.host_port() + ">"},
    };
    return draft;
}

Draft response(const Message& request, int status, const std::string& reason, const std::string& to_tag) {
    Draft draft;
    draft.start = "SIP/2.0 " + std::to_string(status) + " " + reason;
    for (const auto* name : {"Via", "Record-Route", "From", "Call-ID", "CSeq"})
        for (const auto& value : request.all(name)) draft.add(name, value);
    const auto to = request.first("To");
    draft.add("To", to_tag.empty() || to.find(";tag=") != std::string::npos ? to : to + ";tag=" + to_tag);
    return draft;
}

}  // namespace wire
