// What nobody may read in a copied message: each character of it becomes '*'.
#pragma once

#include <string>

namespace push_proxy {

// Lengths stay, so Content-Length is still right and a masked message is as well-formed as it was.
// Masked are:
// - all of Authorization and Proxy-Authorization but the parameters that are no secret (user name,
//   realm, nonce, URI…), rspauth and cnonce of Authentication-Info, passwords in URIs;
// - push tokens: the values of pn-* parameters (RFC 8599) but the provider's name;
// - our own tokens: the user part of our Record-Route, pp of our Contacts;
// - headers X-… whose name says that they hold a secret;
// - media keys in SDP: a=crypto, a=key-mgmt, k=, a=ice-pwd;
// - digits that somebody keys in (INFO): they may be a PIN;
// - what people write to each other (MESSAGE).
void mask_secrets(std::string& message);

}  // namespace push_proxy
