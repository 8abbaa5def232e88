// What nobody may read in a copied message. The long list of places is in tests/unit/recorder.
#include "masking.hpp"

#include "check.hpp"

namespace {

std::string masked(std::string text) {
    push_proxy::mask_secrets(text);
    return text;
}

}  // namespace

TEST("masking: secrets become as many asterisks, the rest stays") {
    CHECK_EQ(
        masked("REGISTER sip:a SIP/2.0\r\nauthorization: Digest username=\"u\",\r\n response=\"ab\\\"c\", nc=1\r\n"),
        std::string("REGISTER sip:a SIP/2.0\r\nauthorization: Digest username=\"u\",\r\n response=*******, nc=1\r\n"));
    CHECK_EQ(masked("Contact: <sip:u:pw@h;pn-provider=fcm;PN-prid=ab:c;pp=d>"),
             std::string("Contact: <sip:u:**@h;pn-provider=fcm;PN-prid=****;pp=*>"));
    CHECK_EQ(masked("a=crypto:1 AES inline:abc|2^20\r\na=ice-pwd:xyz\r\n"),
             std::string("a=crypto:1 AES inline:********\r\na=ice-pwd:***\r\n"));
    CHECK_EQ(masked("\r\nX-Api-Key: a\r\n b\r\nX-Push-ID: a\r\n"),
             std::string("\r\nX-Api-Key:******\r\nX-Push-ID: a\r\n"));
}

TEST("masking: whatever the end of a message cuts off is no fault") {
    const std::string all =
        "INFO sip:a:b@c SIP/2.0\r\nAuthorization: Digest username=\"u\", response=\"x\r\nProxy-Authorization: Basic "
        "x\r\n"
        "X-Token: t\r\n u\r\nContact: <sip:a;%70%6e%2dprid%3dtoken;pn-x=\"y\"?Authorization=z>\r\nCSeq: 1 INFO\r\n"
        "Content-Type: application/dtmf\r\n\r\n1\r\nSignal = 4\r\nk=x\r\na=key-mgmt:m\r\na=ice-pwd:p inline:k";
    for (std::size_t size = 0; size <= all.size(); ++size) {
        for (std::size_t from = 0; from <= size; from += 7) {
            const auto cut = all.substr(from, size - from);
            CHECK_EQ(masked(cut).size(), cut.size());
        }
    }
}
