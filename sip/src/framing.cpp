#include "framing.hpp"

#include "message.hpp"

namespace push_proxy {
namespace {

constexpr std::size_t kKeptCapacity = 4096;  // a connection that is at rest shall cost little

}  // namespace

// Forgets the message that was handed out.
void Framer::consume() {
    begin_ += size_;
    size_ = 0;
    if (begin_ < buffer_.size()) return;
    buffer_.clear();
    if (buffer_.capacity() > kKeptCapacity) buffer_.shrink_to_fit();
    begin_ = 0;
}

// True when a ping ends here.
bool Framer::skip_line_breaks() {
    while (begin_ < buffer_.size() && (buffer_[begin_] == '\r' || buffer_[begin_] == '\n')) {
        if (buffer_[begin_++] != '\n' || ++line_breaks_ < 2) continue;
        line_breaks_ = 0;
        return true;
    }
    if (begin_ < buffer_.size()) line_breaks_ = 0;
    return false;
}

Framer::Found Framer::give_up(const char* fault) {
    fault_ = fault;
    size_ = buffer_.size() - begin_;
    return Found::broken;
}

Framer::Found Framer::next() {
    consume();
    if (need_ == 0) {
        if (skip_line_breaks()) return Found::ping;
        if (begin_ == buffer_.size()) {
            consume();
            return Found::nothing;
        }
        // Half an empty line may have been seen before.
        const auto from = scanned_ > begin_ + 2 ? scanned_ - 2 : begin_;
        const auto end = buffer_.find("\n\r\n", from);
        if (end == std::string::npos) {
            scanned_ = buffer_.size();
            if (buffer_.size() - begin_ > kMaxStreamMessage) return give_up("400 Headers Too Large");
            if (begin_ == 0) return Found::nothing;
            buffer_.erase(0, begin_);
            scanned_ -= begin_;
            begin_ = 0;
            return Found::nothing;
        }
        const auto headers = end + 3 - begin_;
        const auto length = content_length(std::string_view(buffer_).substr(begin_, headers));
        // Without it nobody knows where the next message begins (RFC 3261 20.14).
        if (!length) return give_up("400 Content-Length Missing Or Wrong");
        if (headers > kMaxStreamMessage || *length > kMaxStreamMessage - headers)
            return give_up("513 Message Too Large");
        need_ = headers + *length;
    }
    if (buffer_.size() - begin_ < need_) return Found::nothing;
    size_ = need_;
    need_ = scanned_ = 0;
    return Found::message;
}

}  // namespace push_proxy
