// A certificate authority for one test: its files are removed with it.
#pragma once

#include <openssl/x509.h>

#include <memory>
#include <string>
#include <vector>

#include "line.hpp"

namespace wire {

class Authority {
   public:
    Authority();
    ~Authority();
    Authority(const Authority&) = delete;
    Authority& operator=(const Authority&) = delete;

    // Files of a certificate with these subjectAltName entries ("DNS:a", "URI:sip:a", "IP:127.0.0.1").
    // Without any, `common_name` alone names it.
    Identity issue(const std::vector<std::string>& names, const std::string& common_name = "test",
                   int valid_from_days = -1, int valid_to_days = 1) const;
    // Issues anew under the same paths.
    void replace(const Identity& identity, const std::vector<std::string>& names) const;
    const std::string& ca() const { return ca_; }
    std::string file(const std::string& name, const std::string& content) const;

   private:
    using Key = std::unique_ptr<EVP_PKEY, void (*)(EVP_PKEY*)>;
    using Certificate = std::unique_ptr<X509, void (*)(X509*)>;
    Certificate make(EVP_PKEY* key, const std::vector<std::string>& names, const std::string& common_name, int from,
                     int to, bool authority) const;
    void write(const Identity& to, const std::vector<std::string>& names, const std::string& common_name, int from,
               int until) const;

    std::string folder_;
    std::string ca_;
    Key key_;
    Certificate certificate_;
    mutable int next_ = 1;
};

}  // namespace wire
