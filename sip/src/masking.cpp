#include "masking.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>

namespace push_proxy {
namespace {

constexpr auto npos = std::string_view::npos;

// A set of characters: every character of every message is looked up in some.
class Chars {
   public:
    constexpr explicit Chars(std::string_view chars) {
        for (const char c : chars) in_[static_cast<unsigned char>(c)] = true;
    }
    constexpr bool has(char c) const { return in_[static_cast<unsigned char>(c)]; }

   private:
    std::array<bool, 256> in_{};
};

constexpr Chars kBlank{" \t\n\v\f"};
constexpr Chars kSpace{" \t"};
constexpr Chars kLineEnd{"\n"};
constexpr Chars kToken{"abcdefghijklmnopqrstuvwxyz0123456789_-"};

// The first two characters of all that something to be masked may begin with, a bit for each first one:
// one look tells for nearly every place that nothing begins there.
struct Beginnings {
    constexpr Beginnings() {
        int bit = 1;
        for (const std::string_view each : {"au", "dt", "inc", "ke=", "ppn%", "%7", "si", "x-"}) {
            first[static_cast<unsigned char>(each[0])] |= bit;
            for (const char next : each.substr(1)) second[static_cast<unsigned char>(next)] |= bit;
            bit *= 2;
        }
    }
    constexpr bool at(const char* text) const {
        return (first[static_cast<unsigned char>(text[0])] & second[static_cast<unsigned char>(text[1])]) != 0;
    }
    std::array<int, 256> first{};
    std::array<int, 256> second{};
};
constexpr Beginnings kBeginnings;

// A parameter's value ends there, in a header or in a URI.
constexpr Chars kValueEnds{";,>?& \t\n\v\f\""};
constexpr Chars kUserEnds{"@<>?, \t\n\v\f\""};
constexpr Chars kUserOrPasswordEnds{":@<>?, \t\n\v\f\""};
constexpr Chars kInlineEnds{"; \t\n\v\f"};
constexpr Chars kUriHeaderEnds{"&> \t\n\v\f"};
constexpr Chars kSchemeEnds{",= \t\n\v\f"};
constexpr Chars kBetweenParameters{", \t\n\v\f"};
constexpr Chars kNameEnds{",=\" \t\n\v\f"};
constexpr Chars kHeaderNameEnds{": \t\n\v\f"};

// Lower case; CR becomes LF, so that a line ends by LF or LF LF.
constexpr auto kLower = [] {
    std::array<char, 256> lower{};
    for (std::size_t i = 0; i < lower.size(); ++i) lower[i] = static_cast<char>(i);
    for (char c = 'A'; c <= 'Z'; ++c) lower[static_cast<unsigned char>(c)] = static_cast<char>(c - 'A' + 'a');
    lower['\r'] = '\n';
    return lower;
}();

// Of digest credentials and Authentication-Info.
constexpr std::array<std::string_view, 11> kNoSecret = {
    "username", "username*", "userhash", "realm", "nonce", "nextnonce", "uri", "algorithm", "qop", "nc", "opaque"};
constexpr std::array<std::string_view, 11> kSecretWords = {"token",      "secret", "key",     "auth", "pass", "pwd",
                                                           "credential", "cookie", "session", "jwt",  "prid"};
// A route token (token.cpp) is longer, a user's name hardly ever.
constexpr std::size_t kTokenLength = 50;

// Whatever a sender writes costs no more than its length: where a secret begins once more before it
// has ended, its end is not looked for again.
class Masker {
   public:
    // `lower`: room for a copy.
    Masker(std::string& message, std::string& lower) : message_(message) {
        lower.resize(message.size());
        std::transform(message.begin(), message.end(), lower.begin(),
                       [](char c) { return kLower[static_cast<unsigned char>(c)]; });
        text_ = lower;
    }

    void run() {
        written_text();
        for (std::size_t i = 0; i + 1 < text_.size(); ++i) {
            if (!kBeginnings.at(&text_[i])) continue;
            switch (text_[i]) {
                case 'a':
                    authentication(i);
                    break;
                case 'd':
                    keyed_digits(i);
                    break;
                case 'i':
                    if (says(i, "inline:")) once(inline_, i + 7, kInlineEnds);
                    if (says(i, "ice-pwd:")) once(line_, i + 8, kLineEnd);
                    break;
                case 'k':
                    if (says(i, "key-mgmt:")) once(line_, i + 9, kLineEnd);
                    if (begins_line(i) && says(i, "k=")) once(line_, i + 2, kLineEnd);
                    break;
                case 'p':
                    if (says(i, "pp=")) once(parameter_, i + 3, kValueEnds);
                    push_parameter(i);
                    break;
                case '%':
                    push_parameter(i);
                    break;
                case 's':
                    if (says(i, "sip:")) uri(i + 4);
                    if (says(i, "sips:")) uri(i + 5);
                    if (begins_line(i) && says(i, "signal")) signal(i + 6);
                    break;
                case 'x':
                    if (begins_line(i) && says(i, "x-")) extension_header(i);
                    break;
                default:
                    break;
            }
        }
    }

   private:
    bool says(std::size_t at, std::string_view words) const {
        // Most of what begins so does not end so.
        return at + words.size() <= text_.size() && text_[at + words.size() - 1] == words.back() &&
               text_.compare(at, words.size(), words) == 0;
    }
    bool begins_line(std::size_t at) const { return at == 0 || text_[at - 1] == '\n'; }
    std::size_t end_of(std::size_t at, const Chars& ends) const {
        while (at < text_.size() && !ends.has(text_[at])) ++at;
        return std::min(at, text_.size());
    }
    std::size_t line_end(std::size_t at) const { return std::min(text_.find('\n', at), text_.size()); }
    std::size_t past(std::size_t at, const Chars& skipped) const {
        while (at < text_.size() && skipped.has(text_[at])) ++at;
        return std::min(at, text_.size());
    }
    // Masks a value up to one of these characters. `until`: where the last one of its kind ended.
    void once(std::size_t& until, std::size_t begin, const Chars& ends) {
        if (begin < until) return;  // masked with the one that it stands in
        until = end_of(begin, ends);
        mask(begin, until);
    }
    void mask(std::size_t begin, std::size_t end) {
        if (begin < end)
            std::fill(message_.begin() + static_cast<long>(begin), message_.begin() + static_cast<long>(end), '*');
    }

    // The value of a header whose name ends here, folded lines included (RFC 3261 7.3.1).
    bool value_of(std::size_t name_end, std::size_t& begin, std::size_t& end) const {
        begin = past(name_end, kSpace);
        if (begin >= text_.size() || text_[begin] != ':') return false;
        end = ++begin;
        for (;;) {
            end = line_end(end);
            auto next = end + 1;
            if (next < text_.size() && text_[next] == '\n') ++next;
            if (next >= text_.size() || (text_[next] != ' ' && text_[next] != '\t')) return true;
            end = next;
        }
    }

    void authentication(std::size_t at) {
        std::size_t begin;
        std::size_t end;
        if (says(at, "authorization")) {
            const auto after = at + 13;
            if (says(after, "=")) {  // of a header in a URI
                once(in_uri_, after + 1, kUriHeaderEnds);
            } else if (at >= credentials_ && value_of(after, begin, end)) {
                credentials_ = end;
                credentials(begin, end);
            }
        } else if (at >= credentials_ && says(at, "authentication-info") && value_of(at + 19, begin, end)) {
            credentials_ = end;
            parameters(begin, end);
        }
    }

    void credentials(std::size_t begin, std::size_t end) {
        const auto scheme = std::min(past(begin, kBlank), end);
        const auto after = std::min(end_of(scheme, kSchemeEnds), end);
        if (after == scheme || after == end || !kBlank.has(text_[after])) return mask(begin, end);
        if (text_.substr(scheme, after - scheme) == "digest") return parameters(after, end);
        mask(after, end);
    }

    // Masks all between these places but names, and values that are no secret.
    void parameters(std::size_t at, std::size_t end) {
        for (;;) {
            at = past(at, kBetweenParameters);
            if (at >= end) return;
            const auto name_end = std::min(end_of(at, kNameEnds), end);
            const auto equals = past(name_end, kBlank);
            if (name_end == at || equals >= end || text_[equals] != '=') {
                const auto stop = std::max(name_end, at + 1);
                mask(at, stop);
                at = stop;
                continue;
            }
            const auto name = text_.substr(at, name_end - at);
            const auto value = std::min(past(equals + 1, kBlank), end);
            at = std::min(value < end && text_[value] == '"' ? quoted_end(value) : end_of(value, kBetweenParameters),
                          end);
            if (std::find(kNoSecret.begin(), kNoSecret.end(), name) == kNoSecret.end()) mask(value, at);
        }
    }

    std::size_t quoted_end(std::size_t quote) const {
        for (auto i = quote + 1; i < text_.size(); ++i) {
            if (text_[i] == '"') return i + 1;
            if (text_[i] == '\\') ++i;
        }
        return text_.size();
    }

    // Past one character, or its escaped form; npos when neither stands there.
    std::size_t past_letter(std::size_t at, char letter, std::string_view escaped) const {
        if (at >= text_.size()) return npos;
        if (text_[at] == letter) return at + 1;
        return says(at, escaped) ? at + 3 : npos;
    }

    void push_parameter(std::size_t at) {
        auto i = past_letter(at, 'p', "%70");
        if (i != npos) i = past_letter(i, 'n', "%6e");
        if (i != npos) i = past_letter(i, '-', "%2d");
        if (i == npos) return;
        const auto name = i;
        if (name > push_name_) {
            push_name_ = name;
            while (push_name_ < text_.size() && text_[push_name_] != '=' && !says(push_name_, "%3d") &&
                   !kValueEnds.has(text_[push_name_]))
                ++push_name_;
        }
        i = push_name_;
        if (i >= text_.size() || kValueEnds.has(text_[i]) || text_.substr(name, i - name) == "provider") return;
        const auto value = i + (text_[i] == '=' ? 1 : 3);
        if (value >= text_.size() || text_[value] != '"') return once(parameter_, value, kValueEnds);
        if (value < parameter_) return;
        parameter_ = std::min(quoted_end(value), line_end(value));
        mask(value, parameter_);
    }

    void uri(std::size_t user) {
        auto end = user;
        while (end < text_.size() && kToken.has(text_[end])) ++end;
        if (end - user >= kTokenLength && text_[user] == 'a') mask(user, end);
        const auto user_end = end_of(user, kUserOrPasswordEnds);
        if (user_end >= text_.size() || text_[user_end] != ':' || user_end < password_) return;
        password_ = end_of(user_end, kUserEnds);
        if (password_ < text_.size() && text_[password_] == '@') mask(user_end + 1, password_);
    }

    void extension_header(std::size_t at) {
        const auto name_end = end_of(at, kHeaderNameEnds);
        const auto name = text_.substr(at, name_end - at);
        const auto secret = [&](std::string_view word) { return name.find(word) != npos; };
        std::size_t begin;
        std::size_t end;
        if (std::any_of(kSecretWords.begin(), kSecretWords.end(), secret) && value_of(name_end, begin, end))
            mask(begin, end);
    }

    void written_text() {
        if (!says(past(0, kLineEnd), "message ")) return;
        auto body = text_.find("\n\n\n\n");
        body = body == npos ? text_.find("\n\n") : body + 2;
        if (body != npos) mask(body + 2, text_.size());
    }

    bool is_info() {
        if (!info_) info_ = text_.find("info\n") != npos;  // in CSeq
        return *info_;
    }

    void signal(std::size_t at) {
        const auto equals = past(at, kSpace);
        if (says(equals, "=") && is_info()) mask(equals + 1, line_end(equals));
    }

    // All of the body: the first one to name that kind says enough.
    void keyed_digits(std::size_t at) {
        if (digits_ || !says(at, "dtmf") || at + 4 >= text_.size()) return;
        if ((!kBlank.has(text_[at + 4]) && text_[at + 4] != ';') || !is_info()) return;
        digits_ = true;
        auto body = text_.find("\n\n\n\n", at);
        body = body == npos ? text_.find("\n\n", at) : body + 2;
        if (body != npos) mask(body + 2, text_.size());
    }

    std::string& message_;
    std::string_view text_;
    std::size_t inline_ = 0;
    std::size_t line_ = 0;
    std::size_t parameter_ = 0;
    std::size_t in_uri_ = 0;
    std::size_t credentials_ = 0;
    std::size_t push_name_ = 0;
    std::size_t password_ = 0;
    bool digits_ = false;
    std::optional<bool> info_;
};

}  // namespace

void mask_secrets(std::string& message) {
    thread_local std::string lower;
    Masker(message, lower).run();
}

}  // namespace push_proxy
