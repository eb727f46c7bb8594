// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#ifndef COI_RELAY_ENDPOINT_H
#define COI_RELAY_ENDPOINT_H

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "relay/address.h"

// The URL of a subscription: PROTOCOL END-1..3.
namespace coi::relay {

struct Endpoint {
  std::string url;     // normalised, what is connected to
  std::string origin;  // RFC 6454: scheme://host[:port], lower case, punycode, no default port
  std::string host;    // IPv6 without brackets
  unsigned int port = 0;
};

class EndpointPolicy {
 public:
  // Lists as in coi-relay.h. False and an error text for the admin.
  bool Set(std::string_view hosts_allowed, std::string_view hosts_denied,
           std::string_view hosts_http, std::string_view networks_allowed, std::string* error);

  // Takes a URL apart with libcurl's own parser, so that what is checked is
  // what is connected to. Nullopt where it is not one, or not allowed (a host
  // that is an address is checked here already).
  std::optional<Endpoint> Check(std::string_view url) const;

  // May this address be connected to? Asked for every connection.
  bool AllowsAddress(const struct sockaddr* address) const noexcept;

 private:
  std::vector<std::string> hosts_allowed_, hosts_denied_, hosts_http_;
  NetworkList networks_;
};

}  // namespace coi::relay

#endif  // COI_RELAY_ENDPOINT_H
