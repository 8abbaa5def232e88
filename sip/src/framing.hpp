// Finds the messages in a byte stream (RFC 3261 18.3), and the line breaks between them (RFC 5626 4.4.1).
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace push_proxy {

// The longest message that a stream may carry: what pjsip's receive buffer holds with its terminator.
inline constexpr std::size_t kMaxStreamMessage = 65535;

class Framer {
   public:
    enum class Found {
        nothing,  // more bytes are needed
        message,  // message() is complete
        ping,     // CRLF CRLF: wants a CRLF
        broken,   // the end of the message cannot be told: message() is what came of it, fault() says why
    };

    void add(std::string_view bytes) { buffer_.append(bytes); }
    // What is next in the stream; a message stays valid until the next call.
    Found next();
    std::string_view message() const { return {buffer_.data() + begin_, size_}; }
    // Status and reason for the sender of a broken message.
    const char* fault() const { return fault_; }
    // A message has begun and has not ended.
    bool partial() const { return begin_ < buffer_.size(); }
    // A line break that came alone was a pong, and is no half of a ping.
    void forget_line_breaks() { line_breaks_ = 0; }

   private:
    Found give_up(const char* fault);
    bool skip_line_breaks();
    void consume();

    std::string buffer_;
    std::size_t begin_ = 0;    // of the first message that has not been consumed
    std::size_t scanned_ = 0;  // no end of headers before this
    std::size_t need_ = 0;     // size of the message, once its headers are complete
    std::size_t size_ = 0;     // of the message that was found last
    int line_breaks_ = 0;
    const char* fault_ = "";
};

}  // namespace push_proxy
