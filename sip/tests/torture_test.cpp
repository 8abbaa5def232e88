// The torture messages of RFC 4475, written anew, and random damage: service goes on.
//
// A file in torture/ is one message with bare line feeds (sent as CRLF) and \xHH for bytes that an
// editor would lose. Its first line says what must come of it:
//   #request METHOD   it is told to Python        #answer NNN   the sender gets that status
//   #silence          neither                      #raw ...     the same, but line feeds stay bare
#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <random>

#include "check.hpp"
#include "station.hpp"

using namespace station;

namespace {

struct Torture {
    std::string name;
    std::string wanted;
    std::string bytes;
};

std::vector<Torture> torture() {
    std::vector<Torture> all;
    for (const auto& entry : std::filesystem::directory_iterator(TORTURE_DIR)) {
        std::ifstream file(entry.path(), std::ios::binary);
        std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
        Torture made{entry.path().stem(), text.substr(1, text.find('\n') - 1), ""};
        text.erase(0, text.find('\n') + 1);
        for (std::size_t i = 0; i < text.size(); ++i) {
            if (text[i] == '\n') {
                made.bytes += "\r\n";
            } else if (text.compare(i, 2, "\\x") == 0) {
                made.bytes += static_cast<char>(std::stoi(text.substr(i + 2, 2), nullptr, 16));
                i += 3;
            } else {
                made.bytes += text[i];
            }
        }
        all.push_back(std::move(made));
    }
    std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
    CHECK(all.size() > 30);
    return all;
}

// Their Vias name hosts of the RFC's world: rport brings the answer to us.
std::string answerable(std::string bytes) {
    const auto at = std::min({bytes.find("UDP "), bytes.find("udp "), bytes.find("TCP "), bytes.find("TLS ")});
    const auto line = at == std::string::npos ? at : bytes.find_first_of(";\r", at);
    if (line != std::string::npos) bytes.insert(line, ";rport");
    return bytes;
}

}  // namespace

TEST("each message of RFC 4475 ends as it should, and none of them stops the service") {
    Station station;
    std::string wrong;
    for (const auto& message : torture()) {
        const Agent sender;
        sender.send(answerable(message.bytes), station.at());
        std::string got;
        if (message.wanted.starts_with("request")) {
            try {
                const auto fact = station.fact(FactKind::request, 1000);
                got = "request " + fact.name;
                CHECK_EQ(fact.raw.size() > 50, true);
                station.reply(fact, 404, "Not Found");
            } catch (const check::Failure& failure) {
                const auto answer = sender.receive(0);
                got = answer ? answer->start() : "nothing";
            }
        } else {
            const auto answer = sender.receive(message.wanted == "silence" ? 100 : 1000);
            got = answer ? "answer " + std::to_string(answer->status()) : "silence";
        }
        if (got != message.wanted) wrong += "\n      " + message.name + ": " + got + ", wanted: " + message.wanted;
        station.expect_alive();
    }
    if (!wrong.empty()) throw check::Failure(wrong);
    station.expect_none(FactKind::request, 50);
    station.stop();
}

TEST("five seconds of damaged messages and rubbish (seeded) stop nothing and leave nothing") {
    FastTimers fast;
    auto with = settings();
    with.timer_c_ms = 800;
    Station station(with);
    std::mt19937 random(20261121);
    std::vector<std::string> seeds;
    for (const auto& message : torture()) seeds.push_back(message.bytes);
    Call call(station);
    call.answered();
    const auto in_dialog = call.from_pbx("INFO", 5);
    seeds.push_back(in_dialog.text());
    seeds.push_back(call.invite.text());
    seeds.push_back(call.ok.text);
    const Agent sender;
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(5);
    std::size_t sent = 0;
    while (std::chrono::steady_clock::now() < end) {
        std::string bytes;
        if (random() % 20 == 0) {
            for (auto left = random() % 1500; left > 0; --left) bytes += static_cast<char>(random());
        } else {
            bytes = answerable(seeds[random() % seeds.size()]);
            for (auto changes = random() % 6; changes > 0 && !bytes.empty(); --changes) {
                const auto at = random() % bytes.size();
                switch (random() % 6) {
                    case 0:
                        bytes[at] = static_cast<char>(random());
                        break;
                    case 1:
                        bytes.erase(at, random() % 40);
                        break;
                    case 2:
                        bytes.insert(at, random() % 300, static_cast<char>(random()));
                        break;
                    case 3:
                        bytes.insert(at, bytes.substr(random() % bytes.size(), random() % 80));
                        break;
                    case 4:
                        bytes.resize(at);
                        break;
                    default:
                        bytes.insert(at, std::string("\r\n\t;,<>\"=@%").substr(random() % 11, 1));
                }
            }
        }
        if (bytes.empty()) continue;
        sender.send(bytes, station.at());
        // Half of what arrives is answered at once, some of it is sent on, some is left to time out.
        if (++sent % 50 == 0) {
            for (auto& fact : station.stack().drain()) {
                if (fact.kind != FactKind::request) continue;
                if (random() % 4 == 0) {
                    station.stack().order(push_proxy::ForkOrder{fact.txn, 1, call.rewrite(call.phone)});
                    station.stack().order(push_proxy::ForwardOrder{fact.txn, call.rewrite(call.phone)});
                }
                station.reply(fact, random() % 2 ? 200 : 480, "Whatever");
            }
            while (sender.receive(0)) {
            }
            while (auto arrived = call.phone.receive(0)) {
                if (arrived->status() == 0 && random() % 2)
                    call.phone.send(wire::response(*arrived, random() % 2 ? 180 : 200, "OK", "t"), station.at());
            }
            while (call.pbx.receive(0)) {
            }
            station.expect_alive();
        }
    }
    CHECK(sent > 1000);
    for (;;) {
        station.expect_alive();
        const auto facts = station.stack().drain();
        if (facts.empty()) break;
        for (const auto& fact : facts)
            if (fact.kind == FactKind::request) station.reply(fact, 480, "Temporarily Unavailable");
    }
    station.expect_empty(10000);
    station.stop();
}
