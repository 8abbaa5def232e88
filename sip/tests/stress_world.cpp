#include "stress_world.hpp"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>

namespace stress {
namespace {

const std::string kEnd = "\r\n";

std::string dialog_key(const Ua& ua, const std::string& call_id) { return ua.user + " " + call_id; }

std::string method_of(const Message& message) {
    const auto cseq = message.first("CSeq");
    return cseq.substr(cseq.find(' ') + 1);
}

int cseq_of(const Message& message) { return std::atoi(message.first("CSeq").c_str()); }

std::string contact_uri(const Message& message) {
    const auto contact = message.first("Contact");
    const auto open = contact.find('<');
    return open == std::string::npos ? contact : contact.substr(open + 1, contact.find('>') - open - 1);
}

std::string with_body(std::string head, const std::string& body) {
    if (!body.empty()) head += "Content-Type: application/sdp" + kEnd;
    return head + "Content-Length: " + std::to_string(body.size()) + kEnd + kEnd + body;
}

}  // namespace

// A call as its caller sees it.
struct World::Call {
    std::shared_ptr<Dialog> dialog;
    std::string branch;
    std::string invite;
    std::string uri;
    std::string ack;  // of the 2xx
    int moves = 0;    // of its caller, when it began
    bool provisional = false;
    bool cancelled = false;
    bool cancel_at_2xx = false;
    bool final = false;
};

World::World(const Options& options, const std::vector<Address>& stack)
    : options_(options), stack_(stack), random_(options.seed) {
    for (int i = 0; i < options.pbxes; ++i) {
        auto pbx = std::make_unique<Ua>();
        pbx->user = "x" + std::to_string(i);
        if (i % 4 == 3) {
            pbx->transport = "tcp";
            pbx->door = std::make_unique<wire::Door>();
        } else {
            pbx->line = udp_line("127.0.0." + std::to_string(2 + i), stack_.front());
        }
        pbxes_.push_back(std::move(pbx));
    }
    for (int i = 0; i < options.phones; ++i) {
        auto phone = std::make_unique<Ua>();
        phone->user = "p" + std::to_string(i);
        phone->phone = true;
        phone->transport = stack_.at(static_cast<std::size_t>(i) % stack_.size()).transport;
        phones_.push_back(std::move(phone));
    }
}

const Address& World::stack_by(const std::string& transport) const {
    for (const auto& address : stack_)
        if (address.transport == transport) return address;
    return stack_.front();
}

std::vector<Address> World::pbxes() const {
    std::vector<Address> all;
    for (const auto& pbx : pbxes_) all.push_back(pbx->door ? pbx->door->address() : pbx->line->address());
    return all;
}

// ---- what happens ---------------------------------------------------------------------------

void World::register_phones() {
    for (auto& phone : phones_) come_back(*phone);
    const auto until = Clock::now() + std::chrono::seconds(5);
    while (tally["registered"] < phones_.size() && Clock::now() < until) pump(10);
    if (tally["registered"] < phones_.size()) faults.push_back("not every phone could register");
}

void World::run(const std::function<void()>& each_second) {
    const auto began = Clock::now();
    const auto over = began + std::chrono::seconds(options_.seconds);
    // A silent phone costs 64*T1, a call at most a few seconds more, and a wait for a lost flow ten.
    const auto give_up = over + std::chrono::milliseconds(3 * timeout_ms() + 20000);
    auto tick = began;
    double due = 0;
    std::uint64_t started = 0;
    for (auto now = began; now < over || (!calls_.empty() && now < give_up); now = Clock::now()) {
        if (now < over) {
            due = std::chrono::duration<double>(now - began).count() * options_.rate;
            // A machine that is too slow falls behind: what was really reached is told at the end.
            for (int burst = 0; static_cast<double>(started) < due && burst < 50; ++burst, ++started) {
                if (chance(0.12)) {
                    phone_calls_out();
                } else {
                    start_call();
                }
            }
        }
        if (now >= tick) {
            tick += std::chrono::seconds(1);
            each_second();
            if (now < over) {
                for (int i = 0; i < 3; ++i) move(*phones_[random_() % phones_.size()]);
                if (chance(0.1)) break_pbx_connection();
            }
            expire();
        }
        pump(2);
    }
    const auto last = Clock::now() + std::chrono::seconds(2);
    while (Clock::now() < last) pump(5);
    // The answer went to where a phone had been.
    for (const auto& [id, call] : calls_) tally["outgoing, caller has moved"] += call->moves != call->dialog->ua->moves;
    std::erase_if(calls_, [](const auto& call) { return call.second->moves != call.second->dialog->ua->moves; });
    for (const auto& [id, call] : calls_)
        faults.push_back("call " + id + " has not ended:" + (call->provisional ? " provisional" : "") +
                         (call->cancelled ? " cancelled" : "") + (call->dialog->answered ? " answered" : ""));
}

// A call from a PBX to one phone or two.
void World::start_call() {
    auto& pbx = *pbxes_[random_() % pbxes_.size()];
    if (!pbx.line) return;  // nobody has connected to it yet
    auto call = std::make_shared<Call>();
    auto dialog = call->dialog = std::make_shared<Dialog>();
    dialog->ua = &pbx;
    dialog->caller = true;
    dialog->call_id = unique("c") + "@" + pbx.user;
    dialog->local = "<sip:" + pbx.user + "@127.0.0.1>;tag=" + unique("f");
    auto users = phones_[random_() % phones_.size()]->user;
    if (chance(0.2)) {
        const auto& other = phones_[random_() % phones_.size()]->user;
        if (other != users) users += "-" + other;
    }
    call->uri = "sip:" + users + "@127.0.0.1:" + std::to_string(stack_.front().port);
    call->branch = unique("z9hG4bKi");
    call->moves = pbx.moves;
    const std::string body = chance(0.05) ? std::string(3000, 'v') : "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\n";
    call->invite =
        with_body("INVITE " + call->uri + " SIP/2.0" + kEnd + via(pbx, call->branch) + "Max-Forwards: 70" + kEnd +
                      "From: " + dialog->local + kEnd + "To: <" + call->uri + ">" + kEnd +
                      "Call-ID: " + dialog->call_id + kEnd + "CSeq: 1 INVITE" + kEnd + "Contact: <sip:" + pbx.user +
                      "@" + pbx.line->address().host + ":" + std::to_string(pbx.line->address().port) + ">" + kEnd,
                  body);
    ++tally["calls"];
    calls_[dialog->call_id] = call;
    request(pbx, call->branch, "INVITE", call->invite,
            [this, call](const Message* response) { caller_heard(call, response); });
    if (chance(0.1)) at(between(0, 30), [this, &pbx, call] { say(pbx, call->invite); });  // a repetition
    if (chance(0.02)) call->cancel_at_2xx = true;
    if (chance(0.15)) {
        // Before or after a provisional response, a phone's answer, the end.
        at(chance(0.3) ? 0 : between(0, 1500), [this, call] { cancel(call); });
    }
}

void World::cancel(const std::shared_ptr<Call>& call) {
    const auto& dialog = *call->dialog;
    auto& ua = *dialog.ua;
    if (call->final || call->cancelled) return;
    call->cancelled = true;
    ++tally["cancelled"];
    request(ua, call->branch, "CANCEL",
            with_body("CANCEL " + call->uri + " SIP/2.0" + kEnd + via(ua, call->branch) + "Max-Forwards: 70" + kEnd +
                          "From: " + dialog.local + kEnd + "To: <" + call->uri + ">" + kEnd +
                          "Call-ID: " + dialog.call_id + kEnd + "CSeq: 1 CANCEL" + kEnd,
                      ""),
            [](const Message*) {});
}

void World::caller_heard(const std::shared_ptr<Call>& call, const Message* response) {
    auto& dialog = *call->dialog;
    auto& ua = *dialog.ua;
    const auto end = [this, call](const char* how) {
        if (call->dialog->over) return;
        call->dialog->over = true;
        ++tally[how];
        calls_.erase(call->dialog->call_id);
    };
    if (!response) {
        call->final = true;
        if (call->moves == ua.moves) faults.push_back("INVITE without any answer: " + dialog.call_id);
        return end("unanswered");
    }
    const int status = response->status();
    if (status < 200) {
        call->provisional = true;
        if (status > 100 && !response->all("Record-Route").empty() && chance(0.1)) {
            // An early dialog (RFC 3262): PRACK by the route that the 18x gave.
            auto early = std::make_shared<Dialog>(dialog);
            early->remote = response->first("To");
            early->target = contact_uri(*response).empty() ? call->uri : contact_uri(*response);
            early->routes = response->all("Record-Route");
            std::reverse(early->routes.begin(), early->routes.end());
            ++tally["prack"];
            send_in_dialog(early, "PRACK", [](const Message*) {});
            dialog.cseq = early->cseq;
        }
        return;
    }
    if (call->final) {
        if (status / 100 == 2 && !call->ack.empty()) say(ua, call->ack);
        return;
    }
    call->final = true;
    dialog.remote = response->first("To");
    if (status >= 300) {
        say(ua, with_body("ACK " + call->uri + " SIP/2.0" + kEnd + via(ua, call->branch) + "Max-Forwards: 70" + kEnd +
                              "From: " + dialog.local + kEnd + "To: " + dialog.remote + kEnd +
                              "Call-ID: " + dialog.call_id + kEnd + "CSeq: 1 ACK" + kEnd,
                          ""));
        ++tally["final " + std::to_string(status)];
        return end(call->cancelled && status == 487 ? "ended by CANCEL" : "refused");
    }
    if (call->cancel_at_2xx) {
        ++tally["cancelled at the 2xx"];
        call->final = false;
        cancel(call);
        call->final = true;
    }
    dialog.answered = true;
    dialog.target = contact_uri(*response);
    dialog.routes = response->all("Record-Route");
    std::reverse(dialog.routes.begin(), dialog.routes.end());
    call->ack = in_dialog(dialog, "ACK", unique("z9hG4bKa"), 1);
    say(ua, call->ack);
    ++tally["answered"];
    legs_[dialog_key(ua, dialog.call_id)] = call->dialog;
    talk(call->dialog, true, [end](bool in_time) { end(in_time ? "ended by BYE" : "ended, BYE unanswered"); });
    // Whoever hangs up first: the callee's BYE ends the call too.
    const auto watch = std::make_shared<std::function<void()>>();
    *watch = [this, call, end, weak = std::weak_ptr(watch)] {
        if (call->dialog->over) {
            calls_.erase(call->dialog->call_id);
        } else if (const auto self = weak.lock()) {
            at(200, [self] { (*self)(); });
        }
    };
    at(200, [watch] { (*watch)(); });
}

// What is said inside a dialog, and in the end perhaps BYE.
void World::talk(const std::shared_ptr<Dialog>& dialog, bool hang_up, const std::function<void(bool)>& ended) {
    static const char* const methods[] = {"INFO", "INVITE", "UPDATE", "REFER", "NOTIFY", "FROBNICATE"};
    const int count = between(0, 3);
    for (int i = 0; i < count; ++i) {
        const std::string method = methods[random_() % 6];
        at(between(20, 2500), [this, dialog, method] {
            if (dialog->over) return;
            ++tally["in dialog"];
            send_in_dialog(dialog, method, [](const Message*) {});
        });
    }
    if (!hang_up) return;
    at(between(50, 4000), [this, dialog, ended] {
        if (dialog->over) return;
        ++tally["BYE"];
        send_in_dialog(dialog, "BYE", [this, ended](const Message* answer) {
            ++tally["BYE answered " + (answer ? std::to_string(answer->status()) : "not at all")];
            ended(answer != nullptr);
        });
    });
}

// A phone's own request: MESSAGE, or an INVITE that its PBX answers.
void World::phone_calls_out() {
    auto& phone = *phones_[random_() % phones_.size()];
    if (!phone.line) return;
    const auto method = chance(0.4) ? "MESSAGE" : "INVITE";
    auto call = std::make_shared<Call>();
    auto dialog = call->dialog = std::make_shared<Dialog>();
    dialog->ua = &phone;
    dialog->caller = true;
    dialog->call_id = unique("o") + "@" + phone.user;
    dialog->local = "<sip:" + phone.user + "@127.0.0.1>;tag=" + unique("f");
    call->uri = "sip:out@pbx.test";
    call->branch = unique("z9hG4bKo");
    call->moves = phone.moves;
    call->invite = with_body(std::string(method) + " " + call->uri + " SIP/2.0" + kEnd + via(phone, call->branch) +
                                 "Max-Forwards: 70" + kEnd + "From: " + dialog->local + kEnd + "To: <" + call->uri +
                                 ">" + kEnd + "Call-ID: " + dialog->call_id + kEnd + "CSeq: 1 " + method + kEnd +
                                 "Contact: <sip:" + phone.user + "@127.0.0.1>" + kEnd,
                             "text");
    ++tally["outgoing"];
    if (method == std::string("MESSAGE"))
        return request(phone, call->branch, method, call->invite, [](const Message*) {});
    calls_[dialog->call_id] = call;
    at(between(1000, 6000), [this, call] { cancel(call); });
    request(phone, call->branch, method, call->invite, [this, call](const Message* response) {
        // A phone that has moved may miss the answer: then its call is over for it.
        if (!response) {
            ++tally["outgoing without an answer"];
            call->dialog->over = true;
            calls_.erase(call->dialog->call_id);
            return;
        }
        caller_heard(call, response);
    });
}

// What a phone does with a request, and a PBX with one from a phone.
void World::phone_heard(Ua& ua, const Message& message) {
    const auto method = method_of(message);
    const auto key = dialog_key(ua, message.first("Call-ID"));
    const auto leg = legs_.find(key);
    if (method == "ACK") {
        if (leg != legs_.end()) leg->second->acked = true;
        return;
    }
    const auto repeated = served_.find(ua.user + " " + message.branch() + " " + method);
    if (repeated != served_.end()) {
        if (!repeated->second.response.empty()) say(ua, repeated->second.response);
        return;
    }
    const bool in_dialog = message.first("To").find(";tag=") != std::string::npos;
    if (method == "CANCEL") {
        answer(ua, message, wire::response(message, 200, "OK", "c").text());
        if (leg == legs_.end() || leg->second->answered || leg->second->over) return;
        if (chance(0.05)) return;  // ignores it
        leg->second->over = true;
        const auto invite = served_.find(ua.user + " " + message.branch() + " INVITE");
        if (invite == served_.end()) return;
        Message original{invite->second.response, {}};  // the 180, or the 100
        auto terminated = original.text;
        terminated.replace(0, terminated.find(kEnd), "SIP/2.0 487 Request Terminated");
        invite->second.response = terminated;
        return say(ua, terminated);
    }
    if (method == "INVITE" && !in_dialog) return ring(ua, message);
    if (chance(0.01)) {
        served_[ua.user + " " + message.branch() + " " + method] = {"", Clock::now() + std::chrono::minutes(1)};
        ++tally["left unanswered"];
        return;
    }
    if (leg == legs_.end() || (leg->second->over && method != "BYE"))
        return answer(ua, message, wire::response(message, in_dialog ? 481 : 200, "So", "t").text());
    if (method == "BYE" && !leg->second->over) {
        leg->second->over = true;
        ++tally["BYE heard"];
    }
    auto ok = wire::response(message, 200, "OK", "t");
    ok.add("Contact", "<sip:" + ua.user + "@127.0.0.1>");
    answer(ua, message, ok.text());
}

void World::ring(Ua& ua, const Message& invite) {
    ++tally["rung"];
    auto leg = std::make_shared<Dialog>();
    leg->ua = &ua;
    leg->call_id = invite.first("Call-ID");
    const auto tag = unique("t");
    legs_[dialog_key(ua, leg->call_id)] = leg;
    auto ringing = wire::response(invite, 180, "Ringing", tag);
    ringing.add("Contact", "<sip:" + ua.user + "@127.0.0.1>");
    leg->remote = invite.first("From");
    leg->target = contact_uri(invite);
    leg->routes = invite.all("Record-Route");
    leg->local = invite.first("To") + ";tag=" + tag;
    served_[ua.user + " " + invite.branch() + " INVITE"] = {wire::response(invite, 100, "Trying", tag).text(),
                                                            Clock::now() + std::chrono::minutes(2)};
    if (chance(0.01)) return;  // silent for ever
    const auto say_if_alive = [this, &ua, leg, invite](const Draft& draft, bool final) {
        if (leg->over || leg->answered) return;
        if (final) leg->over = true;
        served_[ua.user + " " + invite.branch() + " INVITE"].response = draft.text();
        say(ua, draft.text());
    };
    const int ring_at = between(0, 60);
    if (chance(0.85)) at(ring_at, [say_if_alive, ringing] { say_if_alive(ringing, false); });
    if (chance(0.15)) {
        static const std::pair<int, const char*> refusals[] = {
            {486, "Busy Here"}, {603, "Decline"}, {488, "Not Acceptable Here"}, {500, "Broken"}, {404, "Not Found"}};
        const auto [status, reason] = refusals[random_() % 5];
        const auto refusal = wire::response(invite, status, reason, tag);
        return at(between(0, 1200), [say_if_alive, refusal] { say_if_alive(refusal, true); });
    }
    if (chance(0.1)) return;  // rings until somebody ends it
    at(between(ring_at, 1200), [this, &ua, invite, leg] { accept(ua, invite, leg); });
}

void World::accept(Ua& ua, const Message& invite, const std::shared_ptr<Dialog>& leg) {
    if (leg->over || leg->answered) return;
    leg->answered = true;
    const auto tag = wire::param(leg->local, "tag");
    auto ok = wire::response(invite, 200, "OK", tag);
    ok.add("Contact", "<sip:" + ua.user + "@127.0.0.1>").with("application/sdp", "v=0\r\n");
    served_[ua.user + " " + invite.branch() + " INVITE"].response = ok.text();
    repeat_2xx(ua, ok.text(), leg, static_cast<int>(options_.t1_ms),
               Clock::now() + std::chrono::milliseconds(timeout_ms()));
    talk(leg, chance(0.3), [leg](bool) { leg->over = true; });
}

void World::repeat_2xx(Ua& ua, const std::string& text, const std::shared_ptr<Dialog>& leg, int interval_ms,
                       Clock::time_point until) {
    if (leg->acked || leg->over) return;
    if (Clock::now() > until) {
        ++tally["2xx never acknowledged"];
        leg->over = true;
        return;
    }
    say(ua, text);
    at(interval_ms, [this, &ua, text, leg, interval_ms, until] {
        repeat_2xx(ua, text, leg, std::min(2 * interval_ms, 8 * static_cast<int>(options_.t1_ms)), until);
    });
}

// Another network: what was under way to the old address is lost, and later the phone registers anew.
void World::move(Ua& ua) {
    if (!ua.line) return;
    ++tally["moved by " + ua.transport];
    ++ua.moves;
    if (ua.transport != "udp" && chance(0.3)) {
        silent_.emplace_back(Clock::now() + std::chrono::seconds(8), std::move(ua.line));
    } else {
        ua.line->drop(chance(0.5));
    }
    ua.line.reset();
    at(between(0, 2500), [this, &ua] { come_back(ua); });
}

void World::come_back(Ua& ua) {
    const auto host = "127.0.1." + std::to_string(1 + random_() % 200);
    const auto& to = stack_by(ua.transport);
    ua.line = to.transport == "udp" ? udp_line(host, to) : stream_line(host, to);
    if (ua.line) return enrol(ua);
    ++tally["could not connect"];
    at(500, [this, &ua] { come_back(ua); });
}

// The stack opens another one with the next request.
void World::break_pbx_connection() {
    for (auto& pbx : pbxes_) {
        if (!pbx->door || !pbx->line) continue;
        ++tally["PBX connections broken"];
        ++pbx->moves;
        pbx->line->drop(chance(0.5));
        pbx->line.reset();
    }
}

void World::enrol(Ua& ua) {
    const auto branch = unique("z9hG4bKr");
    const auto& at = ua.line->address();
    const auto uri = "sip:127.0.0.1:" + std::to_string(stack_.front().port);
    request(ua, branch, "REGISTER",
            with_body("REGISTER " + uri + " SIP/2.0" + kEnd + via(ua, branch) + "Max-Forwards: 70" + kEnd +
                          "From: <sip:" + ua.user + "@127.0.0.1>;tag=" + unique("f") + kEnd + "To: <sip:" + ua.user +
                          "@127.0.0.1>" + kEnd + "Call-ID: " + unique("r") + kEnd + "CSeq: 1 REGISTER" + kEnd +
                          "Contact: <sip:" + ua.user + "@" + at.host + ":" + std::to_string(at.port) + ">" + kEnd,
                      ""),
            [this](const Message* response) {
                ++tally[response && response->status() == 200 ? "registered" : "registration failed"];
            });
}

// ---- transactions ---------------------------------------------------------------------------

std::string World::via(const Ua& ua, const std::string& branch) const {
    // While a connection is down this goes nowhere.
    const auto at = ua.line ? ua.line->address() : Address{"127.0.0.1", 9, ua.transport};
    std::string transport = at.transport;
    std::transform(transport.begin(), transport.end(), transport.begin(), ::toupper);
    return "Via: SIP/2.0/" + transport + " " + at.host + ":" + std::to_string(at.port) + ";rport;branch=" + branch +
           kEnd;
}

void World::request(Ua& ua, const std::string& branch, const std::string& method, std::string text, Handler handler) {
    const auto key = branch + " " + method;
    // The stack answers a silent phone's request with 408 after 64*T1; a machine may be slow.
    const int patience = timeout_ms() + 15000;
    clients_[key] = {&ua,
                     std::move(text),
                     method,
                     std::move(handler),
                     Clock::now() + std::chrono::milliseconds(patience),
                     static_cast<int>(options_.t1_ms)};
    resend(key);
}

void World::resend(const std::string& key) {
    const auto found = clients_.find(key);
    if (found == clients_.end() || found->second.proceeding) return;
    auto& client = found->second;
    if (Clock::now() > client.deadline) {
        const auto handler = std::move(client.handler);
        clients_.erase(found);
        return handler(nullptr);
    }
    say(*client.ua, client.text);
    at(client.interval_ms, [this, key] { resend(key); });
    client.interval_ms = std::min(2 * client.interval_ms, 8 * static_cast<int>(options_.t1_ms));
}

std::string World::in_dialog(Dialog& dialog, const std::string& method, const std::string& branch, int cseq) {
    const auto at = dialog.ua->line ? dialog.ua->line->address() : Address{"127.0.0.1", 9};
    std::string head = method + " " + dialog.target + " SIP/2.0" + kEnd + via(*dialog.ua, branch) + "Max-Forwards: 70" +
                       kEnd + "From: " + dialog.local + kEnd + "To: " + dialog.remote + kEnd +
                       "Call-ID: " + dialog.call_id + kEnd + "CSeq: " + std::to_string(cseq) + " " + method + kEnd +
                       "Contact: <sip:" + dialog.ua->user + "@" + at.host + ":" + std::to_string(at.port) + ">" + kEnd;
    for (const auto& route : dialog.routes) head += "Route: " + route + kEnd;
    return with_body(std::move(head), "");
}

void World::send_in_dialog(const std::shared_ptr<Dialog>& dialog, const std::string& method, Handler handler) {
    const auto branch = unique("z9hG4bKd");
    const int cseq = ++dialog->cseq;
    auto& ua = *dialog->ua;
    const auto text = in_dialog(*dialog, method, branch, cseq);
    if (method != "INVITE") return request(ua, branch, method, text, std::move(handler));
    request(ua, branch, method, text, [this, dialog, handler, text, branch, cseq](const Message* response) {
        if (!response) return handler(nullptr);
        const int status = response->status();
        if (status < 200) return;
        ++tally["re-INVITE " + std::to_string(status / 100) + "xx"];
        auto ack = in_dialog(*dialog, "ACK", status < 300 ? unique("z9hG4bKa") : branch, cseq);
        say(*dialog->ua, ack);
        handler(response);
    });
    if (chance(0.2)) {
        at(between(0, 800), [this, &ua, text, branch] {
            const auto open = clients_.find(branch + " INVITE");
            if (open == clients_.end()) return;
            ++tally["re-INVITE cancelled"];
            auto cancel = text;
            cancel.replace(0, 6, "CANCEL");
            const auto at_cseq = cancel.find(" INVITE" + kEnd);
            cancel.replace(at_cseq, 7, " CANCEL");
            request(ua, branch, "CANCEL", cancel, [](const Message*) {});
        });
    }
}

void World::answer(Ua& ua, const Message& request, const std::string& text) {
    served_[ua.user + " " + request.branch() + " " + method_of(request)] = {
        text, Clock::now() + std::chrono::milliseconds(timeout_ms())};
    say(ua, text);
}

void World::say(Ua& ua, const std::string& text) {
    if (ua.line) ua.line->send(text);
}

void World::serve(Ua& ua, const Message& message) {
    const int status = message.status();
    if (status == 0) return phone_heard(ua, message);
    const auto method = method_of(message);
    const auto found = clients_.find(message.branch() + " " + method);
    if (found == clients_.end()) {
        // A repeated 2xx or refusal of an INVITE wants its ACK again.
        if (method != "INVITE" || status < 200) return;
        if (const auto call = calls_.find(message.first("Call-ID")); call != calls_.end() && cseq_of(message) == 1)
            caller_heard(call->second, &message);
        return;
    }
    auto& client = found->second;
    if (status < 200) {
        client.proceeding = client.proceeding || method == "INVITE";
        const auto handler = client.handler;
        return handler(&message);
    }
    const auto handler = std::move(client.handler);
    clients_.erase(found);
    handler(&message);
}

// ---- time and sockets -----------------------------------------------------------------------

void World::at(int delay_ms, std::function<void()> work) {
    tasks_.push({Clock::now() + std::chrono::milliseconds(delay_ms), ++next_, std::move(work)});
}

void World::run_due() {
    const auto now = Clock::now();
    while (!tasks_.empty() && tasks_.top().due <= now) {
        const auto work = tasks_.top().work;
        tasks_.pop();
        work();
    }
}

void World::pump(int wait_ms) {
    std::vector<pollfd> watched;
    std::vector<Ua*> owners;
    for (auto* group : {&pbxes_, &phones_}) {
        for (auto& ua : *group) {
            if (ua->door && ua->door->knocked(0)) ua->line = accepted_line(ua->door->accept(0));
            if (!ua->line) continue;
            watched.push_back({ua->line->fd(), ua->line->wanted(), 0});
            owners.push_back(ua.get());
        }
    }
    if (poll(watched.data(), watched.size(), wait_ms) > 0) {
        for (std::size_t i = 0; i < watched.size(); ++i) {
            // The line may have been replaced meanwhile.
            auto* line = owners[i]->line.get();
            if (watched[i].revents == 0 || !line || line->fd() != watched[i].fd) continue;
            const auto messages = line->receive();
            for (const auto& message : messages) serve(*owners[i], message);
            if (messages.empty() && owners[i]->transport != "udp" && watched[i].revents & POLLIN) hung_up(*owners[i]);
        }
    }
    run_due();
}

// The stack has closed the connection, or TLS had nothing for us.
void World::hung_up(Ua& ua) {
    char probe;
    if (recv(ua.line->fd(), &probe, 1, MSG_PEEK | MSG_DONTWAIT) != 0) return;
    ++tally["connections closed by the stack"];
    ua.line.reset();
    if (ua.phone) at(100, [this, &ua] { come_back(ua); });
}

// Forgets what can no longer be asked for.
void World::expire() {
    const auto now = Clock::now();
    std::erase_if(silent_, [&](const auto& line) { return line.first < now; });
    std::erase_if(served_, [&](const auto& entry) { return entry.second.until < now; });
    std::erase_if(legs_, [&](const auto& entry) { return entry.second->over && chance(0.1); });
}

}  // namespace stress
